// Command engine lets the scripts of this repository see a Docker engine as the provider does, also
// where no docker command is installed. The engine is the one that DOCKER_HOST names, or the local one.
//
//	engine ping                      says which engine answers; fails when none does
//	engine await [-timeout D]        waits until one answers
//	engine list                      shows what of ours is on it: containers, volumes, networks
//	engine busy                      succeeds when any container runs on it
//	engine save FILE                 writes down what of ours, and which anonymous volumes, are on it
//	engine remove [-except FILE]     removes everything of ours, but what was written down
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/test/example/leftover"
)

// callTimeout bounds one call of the engine; removing a busy container takes seconds.
const callTimeout = 30 * time.Second

// errUsage says that the command line is wrong.
var errUsage = errors.New("usage: engine ping | await [-timeout D] | list | busy | save FILE | remove [-except FILE]")

// engine is what the commands need of a client.
type engine interface {
	leftover.Engine
	Ping(ctx context.Context, options client.PingOptions) (client.PingResult, error)
	ServerVersion(ctx context.Context, options client.ServerVersionOptions) (client.ServerVersionResult, error)
	DaemonHost() string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	docker, err := client.New(client.FromEnv)
	if err == nil {
		err = run(ctx, docker, os.Args[1:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, docker engine, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	timeout := flags.Duration("timeout", time.Minute, "how long to wait")
	except := flags.String("except", "", "file that save wrote")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w\n%w", err, errUsage)
	}
	switch args[0] {
	case "ping":
		return ping(ctx, docker, out)
	case "await":
		return await(ctx, docker, *timeout, out)
	case "list":
		return list(ctx, docker, out)
	case "busy":
		return busy(ctx, docker)
	case "save":
		if flags.NArg() != 1 {
			return errUsage
		}
		return save(ctx, docker, flags.Arg(0))
	case "remove":
		return remove(ctx, docker, *except, out)
	}
	return errUsage
}

func ping(ctx context.Context, docker engine, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		return fmt.Errorf("unable to reach a Docker engine at %s: %w", docker.DaemonHost(), err)
	}
	version, err := docker.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return fmt.Errorf("unable to read the version of the engine at %s: %w", docker.DaemonHost(), err)
	}
	_, err = fmt.Fprintf(out, "Docker engine %s at %s\n", version.Version, docker.DaemonHost())
	return err
}

func await(ctx context.Context, docker engine, timeout time.Duration, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, ping(ctx, docker, out)
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(timeout))
	if err != nil {
		return fmt.Errorf("no engine after %s: %w", timeout, err)
	}
	return nil
}

func list(ctx context.Context, docker engine, out io.Writer) error {
	picture, err := take(ctx, docker)
	if err != nil {
		return err
	}
	objects := picture.Objects(leftover.Object.Ours)
	if len(objects) == 0 {
		_, err := fmt.Fprintln(out, "Nothing of this provider's is on the engine.")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NETWORK\tWHAT\tNAME\tSTATE\tHOST PORTS")
	counts := map[leftover.Kind]int{}
	for _, object := range objects {
		counts[object.Kind]++
		if object.Kind == leftover.Container {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", object.NetworkName(), object.Label("kind"), object.Name, object.State, strings.Join(object.Ports, " "))
		}
	}
	if counts[leftover.Container] > 0 {
		if err := table.Flush(); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%d containers, %d volumes, %d networks\n", counts[leftover.Container], counts[leftover.Volume], counts[leftover.Network])
	return err
}

func busy(ctx context.Context, docker engine) error {
	picture, err := take(ctx, docker)
	if err != nil {
		return err
	}
	running := picture.Objects(func(o leftover.Object) bool { return o.Kind == leftover.Container && o.State == "running" })
	if len(running) == 0 {
		return errors.New("no container runs")
	}
	return nil
}

// objectsOfRuns are what runs of ours make: everything labelled, and volumes that nobody named and nobody uses.
func objectsOfRuns(o leftover.Object) bool { return o.Ours() || o.Anonymous() && !o.Used }

func save(ctx context.Context, docker engine, file string) error {
	picture, err := take(ctx, docker)
	if err != nil {
		return err
	}
	var ids []string
	for _, object := range picture.Objects(func(o leftover.Object) bool { return o.Ours() || o.Anonymous() }) {
		ids = append(ids, string(object.Kind)+" "+object.ID)
	}
	content, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

func remove(ctx context.Context, docker engine, except string, out io.Writer) error {
	keep := map[string]bool{}
	candidate := leftover.Object.Ours
	if except != "" {
		content, err := os.ReadFile(except)
		if err != nil {
			return fmt.Errorf("unable to read what shall stay: %w", err)
		}
		var ids []string
		if err := json.Unmarshal(content, &ids); err != nil {
			return fmt.Errorf("unable to read what shall stay from %s: %w", except, err)
		}
		for _, id := range ids {
			keep[id] = true
		}
		// Only with a picture of before can a volume that nobody named be told to be of a run.
		candidate = objectsOfRuns
	}
	picture, err := take(ctx, docker)
	if err != nil {
		return err
	}
	objects := picture.Objects(func(o leftover.Object) bool { return candidate(o) && !keep[string(o.Kind)+" "+o.ID] })
	for _, object := range objects {
		if _, err := fmt.Fprintln(out, "removing", object); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout+time.Duration(len(objects))*2*time.Second)
	defer cancel()
	return leftover.Remove(ctx, docker, objects)
}

func take(ctx context.Context, docker engine) (leftover.Picture, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return leftover.Take(ctx, docker)
}
