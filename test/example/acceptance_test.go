package example

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// examplesFolder is where the examples are, seen from this package.
const examplesFolder = "../../examples"

// exampleTimeout bounds one example with all its steps.
const exampleTimeout = 15 * time.Minute

// inMinutes are the examples that take minutes, or a Terraform that only make long builds.
var inMinutes = []string{"adopt", "canary", "discover", "signed-chaincode", "smartbft"}

// TestAccExamples applies every example on a real engine but those that take minutes. It needs TF_ACC=1; the
// provider is the one of FABRIC_PROVIDER_BINARY, or is built; Terraform is the one of TF_ACC_TERRAFORM_PATH,
// or on the path.
func TestAccExamples(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 applies the examples on a Docker engine")
	}
	applyExamples(t, false)
}

// TestLongExamples applies those that take minutes. It needs FABRIC_LONG=1 too.
func TestLongExamples(t *testing.T) {
	if os.Getenv("TF_ACC") == "" || os.Getenv("FABRIC_LONG") == "" {
		t.Skip("FABRIC_LONG=1 and TF_ACC=1 apply the examples that take minutes on a Docker engine")
	}
	applyExamples(t, true)
}

func applyExamples(t *testing.T, long bool) {
	t.Helper()
	examples, fragments, err := Find(examplesFolder)
	if err != nil {
		t.Fatal(err)
	}
	if len(examples) == 0 {
		t.Fatalf("there is no example in %s", examplesFolder)
	}
	for _, name := range fragments {
		t.Logf("%s requires no provider: it is shown, not applied", name)
	}
	binary := providerForTest(t)
	for _, name := range examples {
		if slices.Contains(inMinutes, name) == long {
			t.Run(name, func(t *testing.T) { runForTest(t, name, binary, nil) })
		}
	}
}

// TestLongConsortium applies the example of several states on Fabric 2.5 too.
func TestLongConsortium(t *testing.T) {
	if os.Getenv("TF_ACC") == "" || os.Getenv("FABRIC_LONG") == "" {
		t.Skip("TF_ACC=1 and FABRIC_LONG=1 apply the example on Fabric 2.5")
	}
	runForTest(t, "consortium", providerForTest(t), map[string]string{"fabric_version": "2.5.9"})
}

func runForTest(t *testing.T, name, binary string, vars map[string]string) {
	t.Helper()
	// An example that hangs has to end while there is time to destroy it.
	ctx, cancel := context.WithTimeoutCause(t.Context(), exampleTimeout, fmt.Errorf("no end after %s", exampleTimeout))
	defer cancel()
	err := Run(ctx, Options{
		Folder: filepath.Join(examplesFolder, name), Binary: binary, TerraformPath: terraformForTest(t, name),
		Vars: vars, Log: logWriter{t}, Trace: true,
	})
	if errors.Is(err, ErrNoQuery) {
		t.Skipf("%s is skipped: %v; FABRIC_TERRAFORM_NEWER names one that can", name, ErrNoQuery)
	}
	if err != nil {
		t.Error(err)
	}
}

// terraformForTest gives the Terraform of an example: a newer one for an example that wants that, if there is one.
func terraformForTest(t *testing.T, name string) string {
	t.Helper()
	wanted, err := Lists(filepath.Join(examplesFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("FABRIC_TERRAFORM_NEWER"); wanted && path != "" {
		return path
	}
	if path := os.Getenv("TF_ACC_TERRAFORM_PATH"); path != "" {
		return path
	}
	return "terraform"
}

func providerForTest(t *testing.T) string {
	t.Helper()
	if binary := os.Getenv("FABRIC_PROVIDER_BINARY"); binary != "" {
		return binary
	}
	binary := filepath.Join(t.TempDir(), providerBinary)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../..")
	build.WaitDelay = time.Minute
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("unable to build the provider: %v\n%s", err, output)
	}
	return binary
}

// logWriter gives what is written to the test's log, which is shown when the test fails.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
