package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// provide puts the provider where Terraform finds it: the given one, or one that is built as releases
// are.
func (t *terraform) provide(ctx context.Context, given string) error {
	if err := os.Mkdir(filepath.Dir(t.binary), 0o700); err != nil {
		return err
	}
	if given == "" {
		if err := t.build(ctx); err != nil {
			return err
		}
	} else {
		content, err := os.ReadFile(given)
		if err != nil {
			return fmt.Errorf("unable to read the provider: %w", err)
		}
		if err := os.WriteFile(t.binary, content, 0o700); err != nil {
			return fmt.Errorf("unable to copy the provider: %w", err)
		}
	}
	info, err := os.Stat(t.binary)
	if err != nil {
		return err
	}
	t.binarySize = info.Size()
	return nil
}

func (t *terraform) build(ctx context.Context) error {
	module, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("unable to find the module: %w", err)
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-gcflags", "github.com/hashicorp/...=-l", "-ldflags", "-s -w -X main.version=bench", "-o", t.binary, ".")
	command.Dir = filepath.Dir(strings.TrimSpace(string(module)))
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("unable to build the provider: %w\n%s", err, out)
	}
	return nil
}

// What Terraform tells a provider by, from terraform-plugin-go's tf6server.
const (
	magicCookie      = "TF_PLUGIN_MAGIC_COOKIE=d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
	protocolVersions = "PLUGIN_PROTOCOL_VERSIONS=6"
)

const startUps = 5

// startUp measures how long a provider process takes until it answers, in seconds.
func (t *terraform) startUp(ctx context.Context) ([]float64, error) {
	var took []float64
	for range startUps {
		one, err := t.startOnce(ctx)
		if err != nil {
			return nil, fmt.Errorf("unable to start the provider: %w", err)
		}
		took = append(took, one.Seconds())
	}
	return took, nil
}

func (t *terraform) startOnce(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, t.binary)
	command.Env = append(os.Environ(), magicCookie, protocolVersions)
	out, err := command.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := command.Start(); err != nil {
		return 0, err
	}
	// It says where it listens: 1|6|unix|…|grpc.
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(begin)
	cancel()
	_ = command.Wait() // it was killed
	if err == nil && strings.Count(line, "|") < 4 {
		err = fmt.Errorf("it said %q", line)
	}
	return took, err
}

// debugged is a provider process that Terraform is told to use instead of starting its own.
type debugged struct {
	stop func()
	// reattach is the value of TF_REATTACH_PROVIDERS.
	reattach string
}

// debug starts the provider for Terraform to attach to.
func (t *terraform) debug(ctx context.Context) (*debugged, error) {
	ctx, cancel := context.WithCancel(ctx)
	command := exec.CommandContext(ctx, t.binary, "-debug")
	command.Env = t.env
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("unable to start the provider for debugging: %w", err)
	}
	d := &debugged{stop: func() {
		cancel()
		_ = command.Wait() // it was interrupted
	}}
	// It prints a line for a shell: TF_REATTACH_PROVIDERS='{…}'.
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, value, found := strings.Cut(lines.Text(), "TF_REATTACH_PROVIDERS="); found {
			d.reattach = strings.Trim(value, "'\"")
			return d, nil
		}
	}
	d.stop()
	return nil, errors.Join(errors.New("the provider does not tell how to attach to it"), lines.Err())
}
