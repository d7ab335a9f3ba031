// Command bench measures the provider against a program that does the same work with no Terraform:
// bring-up of examples/quickstart from nothing to a committed transaction, an empty plan, and the way
// back. It runs both in turn on one engine, so that a machine that is slow today is slow for both. Then it
// changes examples/grow-network under load, plans a change of a network of 56 containers, and upgrades a
// chaincode, again beside a program that does the same.
//
//	go run ./test/bench                     text, for a person
//	go run ./test/bench -markdown           the tables of docs/benchmarks.md
//	go run ./test/bench -write docs/benchmarks.md
//
// Everything that it makes carries a name of its own and is removed, also after an interrupt.
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
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
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

// settings are what the command line says.
type settings struct {
	runs, plans int
	// changes is how often a network is changed under load, large how often a large one is planned.
	changes, large int
	// upgrades is how often a chaincode is upgraded.
	upgrades int
	// packings is how often a folder of source is packed.
	packings int
	// faults is how often the leader, and a follower, of each ordering cluster is killed under load, and
	// orderers the size of the only one; 0 for all. only is a part of the name of the faults that are
	// wanted, and earlier the file of a run whose faults count too.
	faults, orderers            int
	only, earlier               string
	batch                       configtx.Batch
	example, growing, terraform string
	// provider is a binary to measure; empty: one is built.
	provider                 string
	fabricVersion, caVersion string
	verbose                  bool
}

// outputs say what becomes of the report.
type outputs struct {
	markdown, strict bool
	jsonFile, write  string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, out, err := parse(args, stderr)
	if err != nil {
		return err
	}
	report, err := measure(ctx, s, stderr)
	if report == nil {
		return err
	}
	if err != nil { // what was measured until then is printed; it becomes no record
		out.write, out.strict = "", false
	}
	return errors.Join(err, report.deliver(out, stdout))
}

func parse(args []string, stderr io.Writer) (settings, outputs, error) {
	s, out := settings{}, outputs{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.runs, "runs", 3, "how often each of both brings the network up and takes it down")
	flags.IntVar(&s.plans, "plans", 3, "how many plans are timed in each run")
	flags.IntVar(&s.changes, "changes", 3, "how often a network is changed under load")
	flags.IntVar(&s.large, "large", 1, "how often a large network is made, to plan a change of it")
	flags.IntVar(&s.upgrades, "upgrades", 3, "how often a chaincode is upgraded")
	flags.IntVar(&s.packings, "packings", 3, "how often 50 MB of source are packed")
	flags.IntVar(&s.faults, "faults", 0, "how often the leader and a follower of three and of five orderers are killed under load")
	flags.IntVar(&s.orderers, "orderers", 0, "kill only those of a cluster of this size")
	flags.StringVar(&s.only, "only", "", "only the faults whose name contains this: killed, paused, cut, quorum")
	flags.StringVar(&s.earlier, "merge", "", "count the faults too that an earlier run wrote to this file by -json")
	flags.DurationVar(&s.batch.Timeout, "batch-timeout", 0, "batch timeout of the channel; 0 is Fabric's default of 2s")
	maxMessages := flags.Uint("max-messages", 0, "transactions of a block; 0 is the default, 1 cuts a block at once")
	flags.StringVar(&s.example, "example", filepath.Join("examples", "quickstart"), "folder of the example")
	flags.StringVar(&s.growing, "growing", filepath.Join("examples", "grow-network"), "folder of the example that is changed")
	flags.StringVar(&s.terraform, "terraform", terraformDefault(), "terraform or tofu")
	flags.StringVar(&s.provider, "provider", "", "measure this binary instead of building one, to compare two versions")
	flags.StringVar(&s.fabricVersion, "fabric-version", "3.1.1", "Fabric release of orderers and peers")
	flags.StringVar(&s.caVersion, "ca-version", "1.5.13", "release of the CAs; what the provider takes by default")
	flags.BoolVar(&s.verbose, "verbose", false, "show what Terraform prints")
	flags.BoolVar(&out.markdown, "markdown", false, "print the tables in Markdown")
	flags.StringVar(&out.jsonFile, "json", "", "write everything that was measured to this file")
	flags.StringVar(&out.write, "write", "", "replace the tables in this Markdown file")
	flags.BoolVar(&out.strict, "strict", false, "fail when a target is missed")
	if err := flags.Parse(args); err != nil {
		return s, out, err
	}
	s.batch.MaxMessageCount = uint32(*maxMessages)
	switch {
	case flags.NArg() > 0:
		return s, out, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case min(s.runs, s.changes, s.large, s.upgrades, s.packings, s.faults) < 0 || s.runs+s.changes+s.large+s.upgrades+s.packings+s.faults == 0:
		return s, out, errors.New("at least one of -runs, -changes, -large, -upgrades, -packings and -faults must be more than 0, and none less")
	case s.orderers != 0 && !slices.Contains(clusterSizes, s.orderers):
		return s, out, fmt.Errorf("-orderers must be one of %d", clusterSizes)
	case !slices.ContainsFunc(ways, func(w way) bool { return strings.Contains(w.what, s.only) }):
		return s, out, fmt.Errorf("no fault is called %q", s.only)
	case s.plans < 1:
		return s, out, errors.New("at least one plan is needed")
	}
	return s, out, nil
}

func terraformDefault() string {
	if path := os.Getenv("FABRIC_TERRAFORM"); path != "" && path != "build" {
		return path
	}
	return "terraform"
}

// deliver prints the report and writes the files that were asked for.
func (r *report) deliver(out outputs, stdout io.Writer) error {
	render := r.text
	if out.markdown {
		render = func() string { return markdown(r.all()) }
	}
	if _, err := io.WriteString(stdout, render()); err != nil {
		return err
	}
	if out.jsonFile != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out.jsonFile, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("unable to write the measurements: %w", err)
		}
	}
	if out.write != "" {
		if err := r.write(out.write); err != nil {
			return err
		}
	}
	if missed := r.missed(); out.strict && len(missed) > 0 {
		return fmt.Errorf("targets missed: %q", missed)
	}
	return nil
}
