package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/test/bench/direct"
	"github.com/fabricops/terraform-provider-fabric/test/example/leftover"
)

// bench is one measurement.
type bench struct {
	settings settings
	log      io.Writer
	api      *client.Client
	// name is the network's name under Terraform, directName that of the direct program's.
	name, directName string
	direct           direct.Options
	terraform        *terraform
	// others run further networks, whose names begin with name.
	others []*terraform
	report *report
}

// measure does everything and takes everything away again. With an error it gives what was measured
// before, or nil.
func measure(ctx context.Context, s settings, log io.Writer) (r *report, err error) {
	b := &bench{settings: s, log: log, report: &report{Began: time.Now().UTC().Truncate(time.Second)}}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.cleanUp(ctx))
	}
	defer func() { err = errors.Join(err, b.cleanUp(ctx)) }()
	err = b.rounds(ctx)
	b.report.LoadAfter = loadAverage()
	return b.report, err
}

func (b *bench) rounds(ctx context.Context) error {
	for i := range b.settings.runs {
		turns := []func(context.Context) error{b.runDirect, b.runTerraform}
		if i%2 == 1 { // who goes second finds caches that are warmer
			turns[0], turns[1] = turns[1], turns[0]
		}
		for _, turn := range turns {
			b.say("run %d of %d", i+1, b.settings.runs)
			if err := turn(ctx); err != nil {
				return err
			}
		}
	}
	for i := range b.settings.changes {
		b.say("change %d of %d", i+1, b.settings.changes)
		if err := b.runChanges(ctx); err != nil {
			return err
		}
	}
	for i := range b.settings.large {
		b.say("large network %d of %d", i+1, b.settings.large)
		if err := b.runLarge(ctx); err != nil {
			return err
		}
	}
	if b.settings.upgrades > 0 {
		if err := b.runUpgrades(ctx); err != nil {
			return err
		}
	}
	for range b.settings.packings {
		if err := b.runPacking(); err != nil {
			return err
		}
	}
	if b.settings.faults > 0 {
		return b.runFaults(ctx)
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "bench: "+format+"\n", args...)
}

func (b *bench) prepare(ctx context.Context) error {
	unique := make([]byte, 3)
	_, _ = rand.Read(unique) // never fails
	b.name = "bench-" + hex.EncodeToString(unique)
	b.directName = b.name + "-direct"
	version, err := nodeconfig.ParseVersion(b.settings.fabricVersion)
	if err != nil {
		return err
	}
	b.direct = direct.Options{Name: b.directName, Version: version, Batch: b.settings.batch, Images: direct.Images{
		CA:        "hyperledger/fabric-ca:" + b.settings.caVersion,
		Orderer:   "hyperledger/fabric-orderer:" + b.settings.fabricVersion,
		Peer:      "hyperledger/fabric-peer:" + b.settings.fabricVersion,
		Chaincode: "fabricops/kv-chaincode:1.0",
	}}
	if b.api, err = client.New(client.FromEnv); err != nil {
		return fmt.Errorf("unable to make a client for the engine: %w", err)
	}
	info, err := b.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("unable to reach the engine: %w", err)
	}
	if b.terraform, err = newTerraform(ctx, b.settings, b.name, b.log); err != nil {
		return err
	}
	b.report.Settings, b.report.Fabric = describe(b.settings), "Fabric "+b.settings.fabricVersion
	b.report.Machine = machine{
		Cores: runtime.NumCPU(), MemoryBytes: info.Info.MemTotal, System: info.Info.OperatingSystem,
		Engine: info.Info.ServerVersion, Terraform: b.terraform.version, Go: runtime.Version(),
	}
	b.report.LoadBefore = loadAverage()
	b.report.Provider.BinaryBytes = b.terraform.binarySize
	b.report.Provider.StartSeconds, err = b.terraform.startUp(ctx)
	return err
}

// runDirect brings the network up twice, because there are two ways to take it down.
func (b *bench) runDirect(ctx context.Context) error {
	d := &b.report.Direct
	for _, way := range []struct {
		name string
		into *[]times
		down func(*direct.Network) (direct.Result, error)
	}{
		{"all at once", &d.Down, func(*direct.Network) (direct.Result, error) { return direct.Down(ctx, b.api, b.directName) }},
		{"in order", &d.Dismantle, func(n *direct.Network) (direct.Result, error) { return n.Dismantle(ctx) }},
	} {
		network, up, err := direct.Up(ctx, b.api, b.direct)
		if err != nil {
			return err
		}
		down, err := way.down(network)
		network.Close()
		if err != nil {
			return err
		}
		b.say("direct: up %.1f s, down %s %.1f s", up.Took.Seconds(), way.name, down.Took.Seconds())
		d.Up = append(d.Up, directTimes(up))
		*way.into = append(*way.into, directTimes(down))
	}
	return nil
}

func (b *bench) runTerraform(ctx context.Context) error {
	apply, err := b.terraform.run(ctx, "apply", "-auto-approve", "-json")
	if err != nil {
		return err
	}
	r := &b.report.Terraform
	r.Apply = append(r.Apply, apply.times())
	b.report.Provider.PeakBytes = append(b.report.Provider.PeakBytes, apply.peak)
	for range b.settings.plans {
		plan, err := b.terraform.run(ctx, "plan", "-detailed-exitcode")
		if err != nil {
			return fmt.Errorf("the plan after the apply is not empty, or failed: %w", err)
		}
		r.Plan = append(r.Plan, plan.took.Seconds())
		b.report.Provider.Starts = append(b.report.Provider.Starts, plan.processes)
	}
	calls, err := b.terraform.planThroughProxy(ctx)
	if err != nil {
		return err
	}
	b.report.Provider.PlanCalls = append(b.report.Provider.PlanCalls, calls)
	destroy, err := b.terraform.run(ctx, "destroy", "-auto-approve", "-json")
	if err != nil {
		return err
	}
	r.Destroy = append(r.Destroy, destroy.times())
	b.say("terraform: apply %.1f s, empty plan %.2f s, destroy %.1f s", apply.took.Seconds(), last(r.Plan), destroy.took.Seconds())
	return b.nothingLeft(ctx)
}

// nothingLeft fails when a destroy left something on the engine.
func (b *bench) nothingLeft(ctx context.Context) error {
	left, err := b.left(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("destroy left on the engine: %v", left)
	}
	return err
}

// left gives what is on the engine of the networks that Terraform made.
func (b *bench) left(ctx context.Context) ([]leftover.Object, error) {
	picture, err := leftover.Take(ctx, b.api)
	if err != nil {
		return nil, err
	}
	return picture.Objects(func(o leftover.Object) bool {
		return o.NetworkName() == b.name || strings.HasPrefix(o.NetworkName(), b.name+"-")
	}), nil
}

// cleanUpLimit bounds what is done after an interrupt or a failure.
const cleanUpLimit = 5 * time.Minute

// cleanUp takes away whatever is there, also when ctx has ended.
func (b *bench) cleanUp(ctx context.Context) error {
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
	defer cancel()
	if interrupted {
		b.say("interrupted: taking everything away")
	}
	var failures []error
	if b.api != nil {
		if _, err := direct.Down(ctx, b.api, b.directName); err != nil {
			failures = append(failures, err)
		}
	}
	if b.terraform != nil {
		all := append(b.others, b.terraform)
		for _, t := range all {
			failures = append(failures, t.cleanUp(ctx))
		}
		left, err := b.left(ctx)
		failures = append(failures, err, leftover.Remove(ctx, b.api, left))
		for _, t := range all {
			failures = append(failures, os.RemoveAll(t.scratch))
		}
	}
	return errors.Join(failures...)
}

// loadAverage is that of the last minute, where the system tells it; empty elsewhere.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
