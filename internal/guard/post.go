package guard

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a guard may take until it is ready. It takes some 20 ms.
const startLimit = 10 * time.Second

// post is a guard at its process.
type post struct {
	cmd   *exec.Cmd
	words *os.File // closed by leave
	began time.Time
}

// program is what is run: this program, also when its file was replaced meanwhile.
const program = "/proc/self/exe"

// newPost starts a guard and waits until it is ready. The first word is what it knows from its start.
func newPost(path string, pid int, process *os.File, first word) (*post, error) {
	hears, words, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer hears.Close()
	answers, says, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, words.Close())
	}
	defer answers.Close()
	p := &post{words: words, began: time.Now(), cmd: &exec.Cmd{
		Path: path, Args: []string{"belay", Verb, strconv.Itoa(pid)},
		Dir: "/", Env: append(os.Environ(), "GOMAXPROCS=1"),
		Stdin: hears, Stdout: says, Stderr: os.Stderr, ExtraFiles: []*os.File{process},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}}
	err = p.say(first)
	if err == nil {
		err = p.cmd.Start()
	}
	says.Close()
	if err != nil {
		return nil, errors.Join(err, words.Close())
	}
	if err := answers.SetReadDeadline(p.began.Add(startLimit)); err != nil {
		return nil, p.failed(err)
	}
	answer, err := bufio.NewReader(answers).ReadString('\n')
	if answer = strings.TrimSpace(answer); answer != ready {
		return nil, p.failed(errors.Join(err, fmt.Errorf("it says %q", answer)))
	}
	return p, nil
}

// failed ends a guard that is none.
func (p *post) failed(why error) error {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.words.Close()      // nobody reads it
	return errors.Join(why, p.cmd.Wait())
}

// say tells the guard what to do when it hears no more. It does not wait: a pipe takes thousands of words.
func (p *post) say(w word) error {
	_, err := p.words.Write([]byte{byte(w)})
	return err
}

// leave has the guard carry out the last word.
func (p *post) leave() { _ = p.words.Close() }

// ended says whether a process has ended, by its pidfd.
func ended(process *os.File) bool {
	c, err := process.SyscallConn()
	if err != nil {
		return true
	}
	over := false
	err = c.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(fds, 0)
		}
		over = n > 0 || err != nil
	})
	return over || err != nil
}
