package provider

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines that tests leave. Not after acceptance tests: Terraform ends the process
// of a provider, which therefore keeps its connections until then, and here that is the tests' own.
func TestMain(m *testing.M) {
	if os.Getenv("TF_ACC") != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}
