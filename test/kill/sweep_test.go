//go:build unix

package kill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// job is what one process is asked to do: what is not done yet, and die on the way.
type job struct {
	// Done are the steps of which Terraform heard, Tried the points of failure that are over.
	Done, Tried []string
	// Remove takes the network away, last step first.
	Remove bool
	Seed   uint64
	// All tries every manner of every call, otherwise one of each.
	All bool
}

// outcome is what became of a process.
type outcome struct {
	// reached are the points of failure that it met, done the steps that it brought to their end.
	reached, done []string
	// failure is an error that nobody injected.
	failure string
	// over tells that everything was done.
	over bool
}

// perform is what a process does. It tells emit what it reaches, and whether it came to the end.
func perform(ctx context.Context, j job, steps []step, e engine.Engine, die func(), emit func(kind, what string)) {
	m := &mortal{Engine: e, tried: map[string]bool{}, die: die, choose: oneOf(j.Seed), reach: func(point string) { emit("reached", point) }}
	if j.All {
		m.choose = every
	}
	for _, point := range j.Tried {
		m.tried[point] = true
	}
	f := network.New(m)
	todo := slices.Clone(steps)
	if j.Remove {
		slices.Reverse(todo)
	}
	for _, s := range todo {
		if slices.Contains(j.Done, s.name) {
			continue
		}
		stage, work := s.name, s.make
		if j.Remove {
			stage, work = "removal of "+s.name, s.remove
		}
		m.begin(stage)
		speaking := m.speak(stage, j)
		err := work(ctx, f)
		switch {
		case m.dead.Load():
			return
		case errors.Is(err, errInjected):
			return
		case err != nil:
			emit("failed", fmt.Sprintf("%s: %v", s.name, err))
			return
		}
		m.dieAtWrite(0, "")
		if speaking != "" && !m.tried[speaking] {
			emit("reached", speaking) // it spoke less than that
		}
		if point := stage + ": the answer: " + string(death); !m.tried[point] {
			emit("reached", point)
			m.end()
			return
		}
		emit("done", s.name)
	}
	emit("over", "")
}

// speak arms the process to die in the middle of what a step says to nodes.
func (m *mortal) speak(stage string, j job) string {
	times := 1
	if j.All {
		times = 8
	}
	for i := range times {
		point := fmt.Sprintf("%s: it speaks, %d: %s", stage, i, death)
		if m.tried[point] {
			continue
		}
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%d/%s", j.Seed, point) // a hash never fails
		m.dieAtWrite(1+int(h.Sum64()>>1%30), point)
		return point
	}
	return ""
}

// sweep has process after process make the network, and then take it away, until none fails any
// more. After each, seen is told what it reached.
func sweep(t *testing.T, j job, run func(job) outcome, seen func(outcome)) int {
	t.Helper()
	points := 0
	for _, j.Remove = range []bool{false, true} {
		j.Done = nil
		over := false
		for attempts := 0; !over; attempts++ {
			o := run(j)
			if o.failure != "" {
				t.Fatalf("after the points\n  %s\na fresh process fails: %s", strings.Join(last(j.Tried, 8), "\n  "), o.failure)
			}
			if len(o.reached)+len(o.done) == 0 && !o.over || attempts > 5000 {
				t.Fatalf("a process reached nothing new after\n  %s", strings.Join(last(j.Tried, 8), "\n  "))
			}
			points += len(o.reached)
			j.Tried, j.Done, over = append(j.Tried, o.reached...), append(j.Done, o.done...), o.over
			if !j.Remove {
				seen(o)
			}
		}
	}
	return points
}

func last(list []string, n int) []string { return list[max(0, len(list)-n):] }

// keeper watches that what once was on a volume stays there.
type keeper struct {
	t *testing.T
	// kept is what has to be there. except are volumes that may go.
	kept   picture
	except map[string]bool
}

// see compares with what was there, and takes note of what is new. A write that was torn need not be
// kept, not even the part that arrived.
func (k *keeper) see(now picture, o outcome) {
	k.t.Helper()
	for _, lost := range k.kept.lost(now, k.except) {
		k.t.Errorf("%s; points before: %v", lost, o.reached)
	}
	if slices.ContainsFunc(o.reached, func(point string) bool { return strings.Contains(point, ": "+string(torn)) }) {
		before := k.kept.keys
		maps.DeleteFunc(now.keys, func(file, _ string) bool { return before[file] == "" })
	}
	k.kept = now
}

func sweptJob(t *testing.T) job {
	t.Helper()
	j := job{Seed: number(t, "FABRIC_KILL_SEED", uint64(time.Now().UnixNano())), All: os.Getenv("FABRIC_SWEEP") == "all"}
	t.Logf("FABRIC_KILL_SEED=%d FABRIC_SWEEP=%s", j.Seed, os.Getenv("FABRIC_SWEEP"))
	return j
}

// TestAccSweep makes a network on the real engine. Each process dies, or has a call fail, at a point
// where none did before; the next one goes on. So every call that changes something is the last one
// of a process, and every process but the first finds what another one left half-made.
func TestAccSweep(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 makes a network on a Docker engine")
	}
	h, w, j := openHost(t), newWorld(), sweptJob(t)
	h.clean(t, sweptNetwork)
	t.Cleanup(func() { h.clean(t, sweptNetwork) })
	k := &keeper{t: t, kept: picture{}, except: map[string]bool{w.channel().Name: true}}
	processes := 0
	points := sweep(t, j, func(j job) outcome {
		processes++
		return child(t, j)
	}, func(o outcome) {
		now := h.take(t, sweptNetwork)
		k.see(now, o)
		if o.over {
			whole(t, w, now)
			f := network.New(openEngine(t))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			must(t, w.answers(ctx, f))
		}
	})
	for object := range h.take(t, sweptNetwork).objects {
		t.Errorf("%s is left", object)
	}
	t.Logf("%d points of failure in %d processes", points, processes)
}

// whole checks that everything is there once.
func whole(t *testing.T, w world, now picture) {
	t.Helper()
	servers := 0
	have := picture{objects: maps.Clone(now.objects)}
	for object := range now.objects {
		if strings.HasPrefix(object, "container "+sweptNetwork+"-asset-") {
			servers++
			delete(have.objects, object)
		}
	}
	if servers != 1 {
		t.Errorf("there are %d servers of the chaincode", servers)
	}
	for _, difference := range w.objects().differences(have) {
		t.Error(difference)
	}
}

// childVariable has the test binary be a process of the sweep: it holds the job.
const childVariable = "FABRIC_KILL_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(beChild(text))
	}
	os.Exit(m.Run())
}

// childTime bounds a process of the sweep.
const childTime = 3 * time.Minute

func beChild(text string) int {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e, err := docker.New(docker.Options{Host: engineAddress()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), childTime)
	defer cancel()
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until the signal comes
	}
	perform(ctx, j, newWorld().steps(), e, die, func(kind, what string) {
		line, _ := json.Marshal([]string{kind, what}) // strings always marshal
		_, _ = os.Stdout.Write(append(line, '\n'))
	})
	return 0
}

// child runs a process of the sweep to its end, whichever that is.
func child(t *testing.T, j job) outcome {
	t.Helper()
	text, err := json.Marshal(j)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), childTime+graceTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), childVariable+"="+string(text))
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); err != nil && !(ok && status.Signal() == syscall.SIGKILL && ctx.Err() == nil) {
		t.Fatalf("a process of the sweep ended with %v:\n%s\n%s", err, stdout.String(), stderr.String())
	}
	var o outcome
	lines := bufio.NewScanner(&stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line [2]string
		must(t, json.Unmarshal(lines.Bytes(), &line))
		o.note(line[0], line[1])
	}
	must(t, lines.Err())
	return o
}

func (o *outcome) note(kind, what string) {
	switch kind {
	case "reached":
		o.reached = append(o.reached, what)
	case "done":
		o.done = append(o.done, what)
	case "failed":
		o.failure = what
	case "over":
		o.over = true
	}
}

// TestSweep is the sweep in memory, as far as no node has to answer: a network, a CA that is wanted
// stopped, a partner's organization.
func TestSweep(t *testing.T) {
	j := sweptJob(t)
	j.All = true
	w, fake := newWorld(), enginetest.NewFake()
	steps := []step{
		{"network", w.makeNetwork, w.steps()[0].remove},
		{"CA", func(ctx context.Context, f *network.Fabric) error {
			spec := w.authority()
			spec.Stopped = true
			if err := f.PreflightCA(ctx, spec); err != nil {
				return err
			}
			_, err := f.EnsureCA(ctx, spec)
			return err
		}, w.steps()[1].remove},
		{"organization", partner(t, w), w.steps()[2].remove},
	}
	k := &keeper{t: t, kept: picture{}}
	points := sweep(t, j, func(j job) outcome {
		var o outcome
		perform(t.Context(), j, steps, fake, func() {}, o.note)
		return o
	}, func(o outcome) {
		now := inMemory(t, fake)
		k.see(now, o)
		if !o.over {
			return
		}
		want := picture{objects: map[string]string{
			"network acc-sweep": "", "volume acc-sweep-ca.org1": "", "container acc-sweep-ca.org1": "",
			"volume acc-sweep-ca.org1-keys": "", "container acc-sweep-ca.org1-keys": "",
			"volume acc-sweep-Org1MSP-keys": "", "container acc-sweep-Org1MSP-keys": "",
		}}
		for _, difference := range want.differences(now) {
			t.Error(difference)
		}
	})
	for object := range inMemory(t, fake).objects {
		t.Errorf("%s is left", object)
	}
	t.Logf("%d points of failure", points)
}

func partner(t *testing.T, w world) func(context.Context, *network.Fabric) error {
	t.Helper()
	root := func(name string) []string {
		pair, err := certificate.NewRoot(certificate.RootRequest{CommonName: name, Organization: "org1", Validity: time.Hour})
		must(t, err)
		return []string{string(pair.CertificatePEM())}
	}
	spec := network.OrganizationSpec{
		Handle: w.org(), Image: "hyperledger/fabric-ca:1.5.13",
		Definition: msp.Definition{ID: mspID, RootCertificates: root("ca"), TLSRootCertificates: root("tlsca")},
	}
	return func(ctx context.Context, f *network.Fabric) error {
		if err := f.PreflightOrganization(ctx, spec); err != nil {
			return err
		}
		_, err := f.CreateOrganization(ctx, spec)
		return err
	}
}

// inMemory is the picture of an engine in memory. Its volumes are never replaced without a call.
func inMemory(t *testing.T, fake *enginetest.Fake) picture {
	t.Helper()
	p := picture{objects: map[string]string{}, volumes: map[string]string{}, keys: map[string]string{}}
	nodes, err := fake.Nodes(t.Context(), nil)
	must(t, err)
	for _, n := range nodes {
		p.objects["container "+n.Name] = n.Labels[engine.LabelName]
	}
	networks, err := fake.Networks(t.Context(), nil)
	must(t, err)
	for _, n := range networks {
		p.objects["network "+n.Name] = n.Labels[engine.LabelName]
	}
	volumes, err := fake.Volumes(t.Context(), nil)
	must(t, err)
	for _, v := range volumes {
		p.objects["volume "+v.Name], p.volumes[v.Name] = v.Labels[engine.LabelName], ""
		for name, f := range fake.Files(v.Name) {
			f.Name = strings.TrimPrefix(name, "node/")
			if mark := fingerprint(f); mark != "" {
				p.keys[v.Name+"/"+f.Name] = mark
			}
		}
	}
	return p
}
