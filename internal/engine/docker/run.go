package docker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const (
	// outputLines is how much of a run-once node's output is kept, longestLine how much of one line.
	outputLines = 500
	longestLine = 32 << 10
	// cleanup bounds the removal of a run-once node after its context has ended.
	cleanup = 30 * time.Second
	// lateness is how much later than it was called off an engine may make a container.
	lateness = 2 * time.Second
)

// AwaitExit implements engine.Engine with POST /containers/{name}/wait. A node that is brought back
// after its end counts as ended all the same.
func (e *Engine) AwaitExit(ctx context.Context, name string) (int, error) {
	code, err := e.wait(ctx, name, container.WaitConditionNotRunning)
	if err == nil {
		// A forced removal ends the process first, and the wait with it.
		var have container.InspectResponse
		if have, err = e.inspect(ctx, name); err == nil && !leaving(have) {
			if adopted := have.Config.Labels[engine.LabelAdopts]; adopted != "" { // a record itself never runs
				return e.AwaitExit(ctx, adopted)
			}
			return code, nil
		}
		if err == nil {
			err = cerrdefs.ErrNotFound
		}
	}
	if cerrdefs.IsNotFound(err) {
		return 0, &engine.NotFoundError{Kind: "container", Name: name}
	}
	return 0, fmt.Errorf("unable to wait for the end of container %s: %w", name, err)
}

func (e *Engine) wait(ctx context.Context, name string, condition container.WaitCondition) (code int, err error) {
	err = e.call(ctx, func(ctx context.Context) error {
		waiting := e.api.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: condition})
		// One of the two always comes, also when ctx ends: the request is bound to it. To leave
		// before would leave the client's goroutine behind.
		select {
		case result := <-waiting.Result:
			if result.Error != nil && result.Error.Message != "" {
				return errors.New(result.Error.Message)
			}
			code = int(result.StatusCode)
			return nil
		case err := <-waiting.Error:
			return err
		}
	})
	return code, err
}

// RunOnce implements engine.Engine. The container's name is the spec's with a random ending, so
// that runs of one name go beside each other. It is removed in every case.
func (e *Engine) RunOnce(ctx context.Context, spec engine.NodeSpec) (engine.RunResult, error) {
	if err := cmp.Or(ctx.Err(), e.connect(ctx)); err != nil { // nothing can have been made, so nothing is to be removed
		return engine.RunResult{}, fmt.Errorf("unable to run container %s: %w", spec.Name, err)
	}
	spec.Name += "-" + ending()
	spec.Restart = false
	if spec.Log.Driver == "" { // the engine's default may be one that cannot be read back
		spec.Log = engine.Log{Driver: "json-file", Options: map[string]string{"max-size": "10m"}}
	}
	result, err := e.runOnce(ctx, spec)
	if err != nil {
		return engine.RunResult{}, fmt.Errorf("unable to run container %s: %w", spec.Name, err)
	}
	return result, nil
}

func (e *Engine) runOnce(ctx context.Context, spec engine.NodeSpec) (result engine.RunResult, err error) {
	id, err := e.createNode(ctx, spec)
	defer func() {
		if discardErr := e.discard(ctx, spec, id, err); discardErr != nil {
			err = errors.Join(err, discardErr)
		}
	}()
	if err != nil {
		return result, err
	}
	// By its ID from here on: an engine under load may not know a new container by its name yet.
	if err := e.start(ctx, id); err != nil {
		return result, fmt.Errorf("unable to start it: %w", err)
	}
	if result.ExitCode, err = e.wait(ctx, id, container.WaitConditionNotRunning); err != nil {
		return result, fmt.Errorf("unable to wait for its end: %w", err)
	}
	result.Output, err = e.log(ctx, id, outputLines)
	if cerrdefs.IsNotFound(err) { // somebody who cleans up was faster; how it ended is known
		return result, nil
	}
	if err != nil {
		return result, fmt.Errorf("unable to read its log: %w", err)
	}
	return result, nil
}

// discard removes the container of a run, also when the run was called off. One whose creation had no
// answer is looked for by its name, for a while: the engine may be about to make it.
func (e *Engine) discard(ctx context.Context, spec engine.NodeSpec, id string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if id != "" {
		if err := e.deleteContainer(ctx, id); err != nil {
			return fmt.Errorf("unable to remove it: %w", err)
		}
		return nil
	}
	answered := !broken(cause) && !errors.Is(cause, engine.ErrUnreachable)
	for until := time.Now().Add(lateness); ; {
		_, err := e.inspect(ctx, spec.Name)
		if answered || !cerrdefs.IsNotFound(err) || time.Now().After(until) {
			return e.RemoveNode(ctx, spec.Name, spec.Labels[engine.LabelOwner])
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// Logs implements engine.Engine with GET /containers/{name}/logs: both streams in the order in which
// they came. A log driver that cannot be read gives one line that says so.
func (e *Engine) Logs(ctx context.Context, name string, lines int) ([]string, error) {
	if lines <= 0 {
		return nil, nil
	}
	ref, err := e.standsFor(ctx, name)
	var out []string
	if err == nil {
		out, err = e.log(ctx, ref, lines)
	}
	switch {
	case cerrdefs.IsNotFound(err):
		return nil, &engine.NotFoundError{Kind: "container", Name: name}
	case err != nil:
		return nil, fmt.Errorf("unable to read the log of container %s: %w", name, err)
	}
	return out, nil
}

func (e *Engine) log(ctx context.Context, ref string, lines int) ([]string, error) {
	tail := &tail{most: lines}
	err := e.call(ctx, func(ctx context.Context) error {
		stream, err := e.api.ContainerLogs(ctx, ref, client.ContainerLogsOptions{
			ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines),
		})
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }() // nothing is to be had from it any more
		stdout, stderr := &lineWriter{to: tail}, &lineWriter{to: tail}
		_, err = stdcopy.StdCopy(stdout, stderr, stream)
		stdout.flush()
		stderr.flush()
		return err
	})
	if cerrdefs.IsNotImplemented(err) {
		return []string{"(the container's log driver keeps no lines that can be read)"}, nil
	}
	return tail.lines, err
}

// tail keeps the last lines.
type tail struct {
	lines []string
	most  int
}

func (t *tail) add(line string) {
	if len(t.lines) == t.most {
		copy(t.lines, t.lines[1:])
		t.lines = t.lines[:t.most-1]
	}
	t.lines = append(t.lines, line)
}

// lineWriter cuts one stream into lines, and lines off at longestLine.
type lineWriter struct {
	to      *tail
	partial []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		w.partial = append(w.partial, line[:min(len(line), longestLine-len(w.partial))]...)
		if !ended {
			return n, nil
		}
		w.to.add(string(bytes.TrimSuffix(w.partial, []byte("\r"))))
		w.partial, p = w.partial[:0], rest
	}
}

func (w *lineWriter) flush() {
	if len(w.partial) > 0 {
		w.to.add(string(w.partial))
		w.partial = nil
	}
}
