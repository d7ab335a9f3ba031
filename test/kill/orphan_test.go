//go:build unix

package kill

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestAccOrphan: a provider whose Terraform was killed ends by itself, also one that has nothing to do
// and would never notice that nobody listens.
func TestAccOrphan(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 builds the provider")
	}
	w := newWorkspace(t, providerBinary(t), "")
	parent := exec.CommandContext(t.Context(), "sh", "-c", `"$0" & wait`, w.provider)
	// What Terraform tells a plugin, so that it serves.
	parent.Env = append(os.Environ(), "PLUGIN_PROTOCOL_VERSIONS=6",
		"TF_PLUGIN_MAGIC_COOKIE=d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
	stdout, err := parent.StdoutPipe()
	must(t, err)
	must(t, parent.Start())
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, "|6|") || len(w.providers()) != 1 {
		t.Fatalf("the provider does not serve: %q %v %v", line, err, w.providers())
	}
	must(t, parent.Process.Kill())
	w.awaitNoProvider(orphanTime)
	_ = parent.Wait() // it was killed
}
