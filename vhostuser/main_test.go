package vhostuser_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain serves as a back end that can be killed when it is started as one, and otherwise
// runs the tests and looks for goroutines left behind.
func TestMain(m *testing.M) {
	if os.Getenv(childSocket) != "" {
		os.Exit(serveChild())
	}
	goleak.VerifyTestMain(m)
}
