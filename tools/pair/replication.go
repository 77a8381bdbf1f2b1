package pair

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
)

// This file is QEMU's own way to carry a disk to the secondary, to compare belay with: the
// block drivers quorum and replication, and NBD between them (QEMU's docs/COLO-FT.txt and
// docs/block-replication.txt). The guest has a virtio-blk disk, /dev/vda, as with belay.

// Names of QEMU's block nodes.
const (
	quorumNode  = "colo-disk0"
	parentNode  = "parent0"
	replicaNode = "replication0"
)

const replicaDevice = "virtio-blk-pci,id=disk0,drive=" + quorumNode

// ReplicaPrimary are QEMU's arguments for the disk of a primary, on a raw image.
func ReplicaPrimary(image string) []string {
	return []string{
		"-drive", "if=none,id=" + quorumNode + ",driver=quorum,read-pattern=fifo,vote-threshold=1," +
			"cache.direct=on,children.0.driver=raw,children.0.file.filename=" + image,
		"-device", replicaDevice,
	}
}

// ReplicaSecondary are those of a secondary, on an equal image. What its guest writes by itself,
// and what the next checkpoint may have to undo, is kept in two images beside it, which are
// made here.
func (s *Side) ReplicaSecondary(ctx context.Context, image string, bytes int64) ([]string, error) {
	active, hidden := s.Path("active"), s.Path("hidden")
	for _, path := range []string{active, hidden} {
		if err := s.qemuImg(ctx, "create", "-q", "-f", "qcow2", path, strconv.FormatInt(bytes, 10)); err != nil {
			return nil, err
		}
	}
	return []string{
		"-drive", "if=none,id=" + parentNode + ",cache.direct=on,driver=raw,file.filename=" + image,
		"-drive", "if=none,id=childs0,driver=replication,mode=secondary,top-id=" + quorumNode +
			",file.driver=qcow2,file.file.filename=" + active +
			",file.backing.driver=qcow2,file.backing.file.filename=" + hidden +
			",file.backing.backing=" + parentNode,
		"-drive", "if=none,id=" + quorumNode +
			",driver=quorum,read-pattern=fifo,vote-threshold=1,children.0=childs0",
		"-device", replicaDevice,
	}, nil
}

func (s *Side) qemuImg(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "qemu-img", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img: %w: %s", err, out)
	}
	return nil
}

// Replicate has the secondary serve its image over NBD, and the primary send it what it
// writes. It comes before StartCOLO.
func (m *Machine) Replicate(ctx context.Context, s *Machine, port int) error {
	if err := s.nbdServe(ctx, port); err != nil {
		return fmt.Errorf("secondary: %w", err)
	}
	var said string
	// Nodes of this driver can be made by this command only.
	err := m.Events.Link().Execute(ctx, "human-monitor-command", map[string]string{
		"command-line": fmt.Sprintf("drive_add -n buddy driver=replication,mode=primary,"+
			"file.driver=nbd,file.host=%s,file.port=%d,file.export=%s,node-name=%s",
			s.side.Addr, port, parentNode, replicaNode)}, &said)
	if err != nil {
		return err
	}
	if said != "" {
		return fmt.Errorf("drive_add: %s", said)
	}
	return m.Events.Link().Execute(ctx, "x-blockdev-change",
		map[string]string{"parent": quorumNode, "node": replicaNode}, nil)
}

func (m *Machine) nbdServe(ctx context.Context, port int) error {
	address := map[string]any{"type": "inet",
		"data": map[string]string{"host": m.side.Addr, "port": strconv.Itoa(port)}}
	link := m.Events.Link()
	if err := link.Execute(ctx, "nbd-server-start", map[string]any{"addr": address}, nil); err != nil {
		return err
	}
	return link.Execute(ctx, "nbd-server-add",
		map[string]any{"device": parentNode, "writable": true}, nil)
}

// FailoverReplica is Failover for a secondary of this kind.
func (m *Machine) FailoverReplica(ctx context.Context) error {
	err := m.Events.Link().Execute(ctx, "nbd-server-stop", nil, nil)
	return errors.Join(err, m.Failover(ctx))
}

// MirrorReplica copies the disk of a survivor to the image of a new secondary, which serves it over NBD,
// and returns when all of it is there: the first step of QEMU's guide to continue the replication.
func (m *Machine) MirrorReplica(ctx context.Context, s *Machine, port int) error {
	if err := s.nbdServe(ctx, port); err != nil {
		return fmt.Errorf("secondary: %w", err)
	}
	mark := m.Events.Len()
	err := m.Events.Link().Execute(ctx, "drive-mirror", map[string]string{
		"device": quorumNode, "job-id": "resync", "mode": "existing", "format": "raw", "sync": "full",
		"target": fmt.Sprintf("nbd://%s:%d/%s", s.side.Addr, port, parentNode)}, nil)
	if err != nil {
		return err
	}
	_, err = m.Events.Await(ctx, mark, "BLOCK_JOB_READY")
	return err
}
