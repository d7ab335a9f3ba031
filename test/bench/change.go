package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/test/load"
)

// shape is what the variables of examples/grow-network say.
type shape struct {
	// organizations are the organizations of the channel with the names of their peers.
	organizations map[string][]string
	orderers      []string
	// messages is how many transactions a block may hold.
	messages int
	// memory is the memory limit of the orderers in MiB: what is changed to have them rolled.
	memory int
}

// base is the network that is changed: two organizations with a peer each, three orderers.
func base() shape {
	return shape{
		organizations: map[string][]string{"org1": {"peer0"}, "org2": {"peer0"}},
		orderers:      []string{"orderer0", "orderer1", "orderer2"}, messages: 10, memory: 512,
	}
}

// large is the network of 56 containers that was measured before the provider was written: 11 CAs, 5
// orderers, 10 organizations with 2 peers each, and a chaincode server beside each peer.
func large() shape {
	s := shape{organizations: map[string][]string{}, messages: 10, memory: 512}
	for i := range 10 {
		s.organizations[fmt.Sprintf("org%d", i+1)] = []string{"peer0", "peer1"}
	}
	for i := range 5 {
		s.orderers = append(s.orderers, fmt.Sprintf("orderer%d", i))
	}
	return s
}

func (s shape) withOrganization(name string) shape {
	organizations := map[string][]string{name: {"peer0"}}
	for org, peers := range s.organizations {
		organizations[org] = peers
	}
	s.organizations = organizations
	return s
}

func (s shape) withOrderer(name string) shape {
	s.orderers = append(append([]string{}, s.orderers...), name)
	return s
}

// variables are the shape as Terraform's arguments: JSON is an expression of its language.
func (s shape) variables() ([]string, error) {
	organizations, err := json.Marshal(s.organizations)
	if err != nil {
		return nil, err
	}
	orderers, err := json.Marshal(s.orderers)
	if err != nil {
		return nil, err
	}
	return []string{
		"-var", "organizations=" + string(organizations), "-var", "orderers=" + string(orderers),
		"-var", fmt.Sprintf("max_message_count=%d", s.messages), "-var", fmt.Sprintf("orderer_memory=%d", s.memory),
	}, nil
}

// What the example does not have: a setting of the orderers that does nothing but have them rolled.
const (
	memoryVariable = "variable \"orderer_memory\" {\n  type = number\n}\n"
	memoryOverride = "resource \"fabric_orderer_cluster\" \"this\" {\n  limits = { memory_mib = var.orderer_memory }\n}\n"
)

// growing is examples/grow-network under Terraform.
type growing struct {
	*terraform
	network string
	// constant are the variables that stay.
	constant []string
}

// newGrowing prepares a copy of the example, with the provider that is measured.
func (b *bench) newGrowing(ctx context.Context, ending string) (*growing, error) {
	s := b.settings
	s.example, s.provider = s.growing, b.terraform.binary
	s.batch.Timeout, s.batch.MaxMessageCount = 0, 0
	name := b.name + "-" + ending
	t, err := newTerraform(ctx, s, name, b.log)
	if err != nil {
		return nil, err
	}
	b.others = append(b.others, t)
	for file, text := range map[string]string{"bench.tf": memoryVariable, "bench_override.tf": memoryOverride} {
		if err := os.WriteFile(filepath.Join(t.dir, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return &growing{terraform: t, network: name, constant: t.variables}, nil
}

// take gives the following commands a shape.
func (g *growing) take(s shape) error {
	variables, err := s.variables()
	if err != nil {
		return err
	}
	g.variables = append(append([]string{}, g.constant...), variables...)
	return nil
}

func (g *growing) apply(ctx context.Context, s shape) (execution, error) {
	if err := g.take(s); err != nil {
		return execution{}, err
	}
	return g.run(ctx, "apply", "-auto-approve", "-json")
}

// runChanges changes a network under load.
func (b *bench) runChanges(ctx context.Context) error {
	g, err := b.newGrowing(ctx, "grow")
	if err != nil {
		return err
	}
	if _, err := g.apply(ctx, base()); err != nil {
		return err
	}
	l, err := load.Start(ctx, load.Target{Network: g.network, Channel: "trade", Chaincode: "asset", Organizations: []string{"Org1MSP", "Org2MSP"}})
	if err != nil {
		return err
	}
	failure := errors.Join(b.changeUnderLoad(ctx, g, l), g.take(base()))
	report, err := l.Finish(ctx)
	b.say("%s", report)
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	b.report.Changes.Load = append(b.report.Changes.Load, loadReport{
		Seconds: report.Ended.Sub(report.Began).Seconds(), Rate: report.Rate(), Acknowledged: report.Acknowledged, SentAgain: report.SentAgain,
	})
	if _, err := g.run(ctx, "destroy", "-auto-approve", "-json"); err != nil {
		return err
	}
	return b.nothingLeft(ctx)
}

// changeUnderLoad adds an organization and a consenter, each alone and taken away again, and rolls the
// orderers.
func (b *bench) changeUnderLoad(ctx context.Context, g *growing, l *load.Load) error {
	c := &b.report.Changes
	election, err := l.Election(ctx)
	if err != nil {
		return err
	}
	c.Election = [2]float64{election.Least.Seconds(), election.Most.Seconds()}
	rolled := base()
	rolled.memory++
	for _, step := range []struct {
		what string
		to   shape
		into *[]change
	}{
		{"organization added", base().withOrganization("org3"), &c.AddOrganization},
		{"organization removed", base(), &c.RemoveOrganization},
		{"consenter added", base().withOrderer("orderer3"), &c.AddConsenter},
		{"consenter removed", base(), &c.RemoveConsenter},
		{"orderers rolled", rolled, &c.Roll},
	} {
		applied, err := g.apply(ctx, step.to)
		if err != nil {
			return err
		}
		starts, err := b.containerStarts(ctx, g.network, applied.began)
		if err != nil {
			return err
		}
		one := change{times: applied.times(), Containers: len(starts), ContainerStart: union(starts)}
		one.take(l.Report().GapsBetween(applied.began, applied.began.Add(applied.took)))
		*step.into = append(*step.into, one)
		b.say("%s: %.1f s, of which %.1f s start %d containers; longest gap between blocks %.1f s", step.what, one.Seconds, one.ContainerStart, one.Containers, one.LongestGap)
	}
	return nil
}

// containerStarts are the times from creation to start of the containers that a network got since, in
// seconds.
func (b *bench) containerStarts(ctx context.Context, network string, since time.Time) ([][2]float64, error) {
	ours := client.Filters{}.Add("label", networkLabel+"="+network)
	containers, err := b.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return nil, fmt.Errorf("unable to list the containers of network %s: %w", network, err)
	}
	var starts [][2]float64
	for _, c := range containers.Items {
		inspected, err := b.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if err != nil {
			return nil, fmt.Errorf("unable to inspect a container of network %s: %w", network, err)
		}
		begin, end, err := startOf(inspected.Container.Created, inspected.Container.State.StartedAt)
		if err != nil {
			return nil, err
		}
		// What only holds volumes is never started.
		if begin.After(since) && end.After(begin) {
			starts = append(starts, [2]float64{begin.Sub(since).Seconds(), end.Sub(since).Seconds()})
		}
	}
	return starts, nil
}

const networkLabel = "io.github.fabricops.network"

func startOf(created, started string) (begin, end time.Time, err error) {
	if begin, err = time.Parse(time.RFC3339Nano, created); err != nil {
		return begin, end, err
	}
	end, err = time.Parse(time.RFC3339Nano, started)
	return begin, end, err
}

// runLarge plans a change of a large network.
func (b *bench) runLarge(ctx context.Context) error {
	g, err := b.newGrowing(ctx, "large")
	if err != nil {
		return err
	}
	applied, err := g.apply(ctx, large())
	if err != nil {
		return err
	}
	r := &b.report.Large
	r.Apply = append(r.Apply, applied.times())
	starts, err := b.containerStarts(ctx, g.network, time.Time{})
	if err != nil {
		return err
	}
	r.Containers = len(starts)
	failure := b.planLarge(ctx, g)
	// Destroying plans too, and a shape that cannot be planned could not be destroyed.
	if err := errors.Join(failure, g.take(large())); err != nil {
		return err
	}
	destroy, err := g.run(ctx, "destroy", "-auto-approve", "-json")
	if err != nil {
		return err
	}
	r.Destroy = append(r.Destroy, destroy.took.Seconds())
	b.say("%d containers: apply %.1f s, destroy %.1f s", r.Containers, applied.took.Seconds(), destroy.took.Seconds())
	return b.nothingLeft(ctx)
}

// planLarge plans changes of the large network.
func (b *bench) planLarge(ctx context.Context, g *growing) error {
	blocks := large()
	blocks.messages++
	for _, step := range []struct {
		what string
		to   shape
		into *[]float64
	}{
		{"another organization", large().withOrganization("org11"), &b.report.Large.PlanOrganization},
		{"another consenter", large().withOrderer("orderer5"), &b.report.Large.PlanConsenter},
		{"other blocks", blocks, &b.report.Large.PlanBatch},
	} {
		if err := g.take(step.to); err != nil {
			return err
		}
		for range b.settings.plans {
			plan, err := g.run(ctx, "plan", "-json")
			if err != nil {
				return err
			}
			if plan.changes("plan") == 0 {
				return fmt.Errorf("the plan of %s changes nothing", step.what)
			}
			*step.into = append(*step.into, plan.took.Seconds())
			b.say("plan of %s: %.1f s", step.what, plan.took.Seconds())
		}
	}
	return nil
}
