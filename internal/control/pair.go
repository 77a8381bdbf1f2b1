package control

import "context"

// Reprotect asks for a new partner.
type Reprotect struct {
	Peer       string `json:"peer"`
	MigrateURI string `json:"migrate_uri"`
}

// PairDifference is a range in which the disks of a pair differ.
type PairDifference struct {
	Disk int   `json:"disk"`
	Off  int64 `json:"offset"`
	Len  int64 `json:"length"`
}

// PairReport is what a comparison of both sides found.
type PairReport struct {
	At      string           `json:"at"` // the common checkpoint
	Bytes   int64            `json:"compared_bytes"`
	Differ  []PairDifference `json:"differences"`
	Stopped bool             `json:"stopped,omitempty"` // there are more
}

// Paired is a Volume that is a side of a pair.
type Paired interface {
	// Failover has this side go on alone.
	Failover(ctx context.Context) error
	// Reprotect has a side that is alone look for a partner.
	Reprotect(ctx context.Context, to Reprotect) error
	// VerifyPair compares both sides at a common checkpoint.
	VerifyPair(ctx context.Context) (PairReport, error)
}

var _ Paired = (*Client)(nil)

// Failover is Paired's.
func (c *Client) Failover(ctx context.Context) error {
	_, err := ask[struct{}](ctx, c, "POST", "failover", struct{}{})
	return err
}

// Reprotect is Paired's.
func (c *Client) Reprotect(ctx context.Context, to Reprotect) error {
	_, err := ask[struct{}](ctx, c, "POST", "reprotect", to)
	return err
}

// VerifyPair is Paired's.
func (c *Client) VerifyPair(ctx context.Context) (PairReport, error) {
	return ask[PairReport](ctx, c, "POST", "verify-pair", struct{}{})
}

// notPaired is said of other volumes.
func notPaired() error {
	return &Error{Code: CodeInvalid, Message: "the volume is not served as a side of a pair"}
}

func (s *Server) paired() (Paired, error) {
	if p, ok := s.vol.(Paired); ok {
		return p, nil
	}
	return nil, notPaired()
}

func (s *Server) failover(ctx context.Context, _ struct{}) (struct{}, error) {
	p, err := s.paired()
	if err == nil {
		err = p.Failover(ctx)
	}
	return struct{}{}, err
}

func (s *Server) reprotect(ctx context.Context, to Reprotect) (struct{}, error) {
	p, err := s.paired()
	switch {
	case err != nil:
	case to.Peer == "" || to.MigrateURI == "":
		err = &Error{Code: CodeInvalid, Message: `"peer" and "migrate_uri" are needed`}
	default:
		err = p.Reprotect(ctx, to)
	}
	return struct{}{}, err
}

func (s *Server) verifyPair(ctx context.Context, _ struct{}) (PairReport, error) {
	p, err := s.paired()
	if err != nil {
		return PairReport{}, err
	}
	return p.VerifyPair(ctx)
}
