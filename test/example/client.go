package example

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// clientFile of an example is a program that uses the network while its steps are applied. It runs in the
// copy, from the first apply on, until it is told to end.
const clientFile = "client"

var errEarly = errors.New("it is to run until destroy")

// clientGrace is what a client has to end in.
const clientGrace = 30 * time.Second

// startClient starts an example's client, and gives what ends it. One that ended before that has failed. An
// example without one gets nobody.
func (r *run) startClient(ctx context.Context, current *root) (end func() error, err error) {
	file, err := filepath.Abs(filepath.Join(r.options.Folder, clientFile))
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); errors.Is(err, os.ErrNotExist) || err == nil && info.IsDir() {
		return func() error { return nil }, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	command := exec.CommandContext(ctx, file)
	command.Dir, command.Stdout, command.Stderr = r.dir, r.options.Log, r.options.Log
	command.Env = append(current.terraform.env, "TERRAFORM="+current.terraform.path)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = clientGrace
	ownProcessGroup(command)
	if err := command.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("unable to start the client: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	return func() error {
		defer cancel()
		select {
		case err := <-ended:
			return fmt.Errorf("the client ended before it was told to (%w)", errors.Join(err, errEarly))
		default:
		}
		cancel()
		failed := new(exec.ExitError)
		if err := <-ended; errors.As(err, &failed) && failed.Exited() { // who has no trap ends by the signal
			return fmt.Errorf("the client failed: %w", err)
		}
		return nil
	}, nil
}
