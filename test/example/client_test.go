package example

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestClient: an example's client runs while the steps are applied, finds Terraform, and ends before destroy.
func TestClient(t *testing.T) {
	s := newScene(t)
	started := filepath.Join(t.TempDir(), "started")
	write(t, filepath.Join(s.options.Folder, "client"), `#!/usr/bin/env bash
set -eu
trap 'echo client ended >>"$FAKE_LOG"; exit 0' TERM
"$TERRAFORM" client >/dev/null
test -f main.tf
touch `+started+`
while :; do read -rt 0.05 <> <(:) || true; done
`)
	write(t, filepath.Join(s.options.Folder, "steps", "01-more.tfvars"), "")
	s.options.After = awaitFile(started)
	if err := Run(t.Context(), s.options); err != nil {
		t.Fatal(err)
	}
	commands := s.commands(t)
	at := func(what string) int {
		return slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, what) })
	}
	if first, step, ended, destroy := at("client"), at("apply -var-file steps/01-more"), at("client ended"), at("destroy"); first < 0 || first > step || step < 0 || ended < step || ended > destroy {
		t.Errorf("it went so: %q", commands)
	}
	s.wantNothingLeft(t)
}

// TestClientFails: a client that does not run to the end fails the example, which is destroyed all the same.
func TestClientFails(t *testing.T) {
	s := newScene(t)
	ended := filepath.Join(t.TempDir(), "ended")
	write(t, filepath.Join(s.options.Folder, "client"), "#!/usr/bin/env bash\ntrap '' TERM\ntouch "+ended+"\nexit 3\n")
	s.options.After = awaitFile(ended)
	err := Run(t.Context(), s.options)
	failed := new(StepError)
	if !errors.As(err, &failed) || failed.Step != "client" || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	s.wantNothingLeft(t)
}

// awaitFile waits until a file is there.
func awaitFile(file string) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		for {
			if _, err := os.Stat(file); err == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-again.C:
			}
		}
	}
}

// TestClientThatIsNoProgram: what cannot be started fails the example.
func TestClientThatIsNoProgram(t *testing.T) {
	s := newScene(t)
	file := filepath.Join(s.options.Folder, "client")
	write(t, file, "no program")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), s.options); err == nil || !strings.Contains(err.Error(), "unable to start the client") {
		t.Errorf("got %v", err)
	}
	s.wantNothingLeft(t)
}
