package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// serveVariable has the test binary be the provider.
const serveVariable = "FABRIC_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestNoCore: a provider that crashes leaves no core, although it was started where there is no limit to
// cores and the runtime was told to leave one. What it says is where it was.
func TestNoCore(t *testing.T) {
	if _, dumped := crash(t, "sleep", "60"); !dumped {
		t.Skip("nothing leaves a core on this machine")
	}
	said, dumped := crash(t, os.Args[0])
	if dumped {
		t.Error("the provider leaves a core")
	}
	if !strings.Contains(said, "SIGABRT") || !strings.Contains(said, "goroutine ") {
		t.Errorf("the provider does not say where it crashed:\n%s", said)
	}
}

// crash starts a program without a limit to cores, has it crash once it serves, and gives what it said and
// whether the kernel dumped its core.
func crash(t *testing.T, program string, arguments ...string) (said string, dumped bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `ulimit -c unlimited && echo "$$" && exec "$0" "$@"`, program}, arguments...)...)
	command.Dir = t.TempDir()
	// What Terraform tells a plugin, so that it serves.
	command.Env = append(os.Environ(), serveVariable+"=1", "GOTRACEBACK=crash", "PLUGIN_PROTOCOL_VERSIONS=6",
		"TF_PLUGIN_MAGIC_COOKIE=d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Skipf("the limit cannot be lifted: %s", stderr.String())
	}
	if program == os.Args[0] {
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "|6|") {
			t.Fatalf("the provider does not serve: %q, %v\n%s", line, err, stderr.String())
		}
	}
	if err := command.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := command.Wait(); !errors.As(err, &ended) {
		t.Fatalf("it did not crash: %v", err)
	}
	status, ok := ended.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Fatalf("it ended with %v\n%s", ended, stderr.String())
	}
	return stderr.String(), status.CoreDump()
}
