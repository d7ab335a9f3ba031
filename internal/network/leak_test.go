package network

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines that tests leave, where no real node is spoken with: one that is stopped
// in the middle of a call may hold a connection for a while.
func TestMain(m *testing.M) {
	if os.Getenv("TF_ACC") != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}
