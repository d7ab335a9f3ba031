// Command example applies an example in a scratch copy, with its steps, checks that each plan after an
// apply is empty, destroys it, and fails when any of it fails or anything is left on the engine.
//
//	go run ./test/example/cmd/example -binary bin/terraform-provider-fabric examples/quickstart
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/example"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "\nerror:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	options := example.Options{Log: stdout, Vars: map[string]string{}}
	flags := flag.NewFlagSet("example", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: example [flags] FOLDER")
		flags.PrintDefaults()
	}
	flags.StringVar(&options.Binary, "binary", filepath.Join("bin", "terraform-provider-fabric"), "the provider")
	flags.StringVar(&options.TerraformPath, "terraform", "terraform", "terraform or tofu")
	flags.BoolVar(&options.Trace, "trace", false, "write TRACE logs and search them for private keys")
	flags.BoolVar(&options.KeepOnFailure, "keep", false, "leave everything as it is after a failure")
	flags.BoolVar(&options.Shared, "shared", false, "others work on the engine at the same time")
	timeout := flags.Duration("timeout", 30*time.Minute, "when to give up and destroy")
	flags.Func("var", "NAME=VALUE, a variable of the example; can be repeated", func(value string) error {
		name, value, found := strings.Cut(value, "=")
		if !found {
			return errors.New("want NAME=VALUE")
		}
		options.Vars[name] = value
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return errors.New("name one folder")
	}
	options.Folder = flags.Arg(0)
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("no end after %s", *timeout))
	defer cancel()
	begin := time.Now()
	err := example.Run(ctx, options)
	if errors.Is(err, example.ErrNoQuery) {
		_, err = fmt.Fprintf(stdout, "Example %s is skipped: %v.\n", filepath.Base(options.Folder), example.ErrNoQuery)
		return err
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\nExample %s passes: %.0f s.\n", filepath.Base(options.Folder), time.Since(begin).Seconds())
	return err
}
