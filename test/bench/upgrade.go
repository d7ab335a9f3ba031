package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fabricops/terraform-provider-fabric/test/bench/direct"
)

// upgradesReport is what releases of chaincode took, and plans that find nothing to release. Times are in
// seconds.
type upgradesReport struct {
	Direct    []times `json:"direct"`
	Terraform []times `json:"terraform"`
	// Plan are empty plans with one chaincode, PlanMore those with moreChaincodes beside it.
	Plan     []float64 `json:"plan"`
	PlanMore []float64 `json:"plan_more"`
}

// The promises of releases.
const (
	upgradeRatio     = 1.2
	chaincodeSeconds = 0.1
)

// moreChaincodes is how many are added to see what each adds to an empty plan.
const moreChaincodes = 5

// What the example does not have: another version of its chaincode, and further chaincodes.
const (
	releaseVariables = `variable "release" {
  type = object({ version = string, image = string })
}

variable "more" {
  type = set(string)
}

resource "fabric_chaincode" "more" {
  for_each = var.more

  channel            = fabric_channel.trade.handle
  name               = each.key
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}
`
	releaseOverride = `resource "fabric_chaincode" "asset" {
  version = var.release.version
  server  = { image = var.release.image }
}
`
)

// released is what is wanted of the chaincodes.
type released struct {
	version, image string
	more           []string
}

// releaseOf gives the release of a sequence: the two images take turns.
func releaseOf(sequence int) released {
	return released{version: fmt.Sprintf("%d.0", sequence), image: fmt.Sprintf("fabricops/kv-chaincode:%d.0", 2-sequence%2)}
}

// variables are the release as Terraform's arguments: JSON is an expression of its language.
func (r released) variables() ([]string, error) {
	more, err := json.Marshal(append([]string{}, r.more...))
	if err != nil {
		return nil, err
	}
	return []string{"-var", fmt.Sprintf("release={version=%q,image=%q}", r.version, r.image), "-var", "more=" + string(more)}, nil
}

// runUpgrades upgrades the chaincode of two networks in turn, that of Terraform and that of the direct
// program, and then plans Terraform's with more chaincodes.
func (b *bench) runUpgrades(ctx context.Context) (err error) {
	network, _, err := direct.Up(ctx, b.api, b.direct)
	if err != nil {
		return err
	}
	defer network.Close()
	s := b.settings
	s.provider = b.terraform.binary
	t, err := newTerraform(ctx, s, b.name+"-upgrade", b.log)
	if err != nil {
		return err
	}
	b.others = append(b.others, t)
	for file, text := range map[string]string{"release.tf": releaseVariables, "release_override.tf": releaseOverride} {
		if err := os.WriteFile(filepath.Join(t.dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	constant := t.variables
	apply := func(r released) (execution, error) {
		variables, err := r.variables()
		if err != nil {
			return execution{}, err
		}
		t.variables = append(append([]string{}, constant...), variables...)
		return t.run(ctx, "apply", "-auto-approve", "-json")
	}
	if _, err := apply(releaseOf(1)); err != nil {
		return err
	}
	r := &b.report.Upgrades
	for i := range b.settings.upgrades {
		next := releaseOf(i + 2)
		turns := []func() error{
			func() error {
				done, err := network.Upgrade(ctx, next.version, next.image)
				r.Direct = append(r.Direct, directTimes(done))
				return err
			},
			func() error {
				done, err := apply(next)
				if err == nil && done.changes("apply") != 1 {
					err = fmt.Errorf("the upgrade changed %d resources, want the chaincode alone", done.changes("apply"))
				}
				r.Terraform = append(r.Terraform, done.times())
				return err
			},
		}
		if i%2 == 1 { // who goes second finds caches that are warmer
			turns[0], turns[1] = turns[1], turns[0]
		}
		for _, turn := range turns {
			if err := turn(); err != nil {
				return err
			}
		}
		b.say("upgrade %d of %d: direct %.1f s, fabric_chaincode %.1f s, terraform %.1f s", i+1, b.settings.upgrades, last(r.Direct).Seconds, last(r.resource()), last(r.Terraform).Seconds)
	}
	for range b.settings.upgrades {
		if err := b.planChaincodes(ctx, t, apply, releaseOf(b.settings.upgrades+1)); err != nil {
			return err
		}
	}
	b.say("empty plan: %.2f s with one chaincode, %.2f s with %d", summarize(r.Plan).Median, summarize(r.PlanMore).Median, moreChaincodes+1)
	if _, err := t.run(ctx, "destroy", "-auto-approve", "-json"); err != nil {
		return err
	}
	if _, err := direct.Down(ctx, b.api, b.directName); err != nil {
		return err
	}
	return b.nothingLeft(ctx)
}

// planChaincodes times empty plans with one chaincode and with more of them, which it takes away again: what
// else slows the machine down comes and goes, and falls on both.
func (b *bench) planChaincodes(ctx context.Context, t *terraform, apply func(released) (execution, error), now released) error {
	r := &b.report.Upgrades
	more := now
	for i := range moreChaincodes {
		more.more = append(more.more, fmt.Sprintf("more%d", i+1))
	}
	for _, turn := range []struct {
		of   released
		into *[]float64
	}{{now, &r.Plan}, {more, &r.PlanMore}} {
		if _, err := apply(turn.of); err != nil {
			return err
		}
		for range b.settings.plans {
			plan, err := t.run(ctx, "plan", "-detailed-exitcode")
			if err != nil {
				return fmt.Errorf("the plan after the apply is not empty, or failed: %w", err)
			}
			*turn.into = append(*turn.into, plan.took.Seconds())
		}
	}
	_, err := apply(now)
	return err
}

// resource are the upgrades without what Terraform does before: it starts, and plans the whole network.
func (u upgradesReport) resource() []float64 {
	var out []float64
	for _, t := range u.Terraform {
		for _, p := range t.Phases {
			if p.Name == "fabric_chaincode" {
				out = append(out, p.End-p.Begin)
			}
		}
	}
	return out
}

// each is what a chaincode adds to an empty plan.
func (u upgradesReport) each() float64 {
	return (summarize(u.PlanMore).Median - summarize(u.Plan).Median) / moreChaincodes
}

func (u upgradesReport) targets() []target {
	var out []target
	if len(u.Terraform) > 0 && len(u.Direct) > 0 {
		ratio := summarize(u.resource()).Median / summarize(seconds(u.Direct)).Median
		out = append(out, target{"upgrade of a chaincode on 4 peers of 2 organizations, times the direct calls", fmt.Sprintf("%.2f", ratio), "at most 1.2", ratio <= upgradeRatio, true})
	}
	if len(u.PlanMore) > 0 {
		each := u.each()
		out = append(out, target{"each further chaincode in an empty plan", fmt.Sprintf("%.0f ms", each*1000), "below 100 ms", each < chaincodeSeconds, true})
	}
	return out
}

func (u upgradesReport) tables() []table {
	if len(u.Terraform) == 0 || len(u.Direct) == 0 {
		return nil
	}
	t := table{title: "Upgrade of a chaincode", header: []string{"what", "seconds"}, rows: [][]string{
		{"direct: approved, committed and served by 4 peers", summarize(seconds(u.Direct)).format(2)},
		{"`fabric_chaincode`: the same", summarize(u.resource()).format(2)},
		{"`terraform apply`: the same, after a plan of the whole network", summarize(seconds(u.Terraform)).format(2)},
	}}
	if len(u.PlanMore) > 0 {
		t.rows = append(t.rows, []string{"`terraform plan` after it, empty", summarize(u.Plan).format(2)},
			[]string{fmt.Sprintf("`terraform plan`, empty, with %d chaincodes more", moreChaincodes), summarize(u.PlanMore).format(2)})
	}
	t.note = "examples/quickstart, whose chaincode is upgraded to another version and image, in turn with the network of the direct program beside it. " +
		"Two blocks, one for the approvals and one for the commit, are 4 s of each with default settings."
	return []table{t, phases("Upgrade, direct, by phase", middle(u.Direct)), phases("Upgrade, terraform apply, by kind of resource", middle(u.Terraform))}
}
