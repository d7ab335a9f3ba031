package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// rollers are the peers of one organization that TestAccPeersRoll changes, two of one provider process
// and one of another.
type rollers struct {
	name string
	// peers are further attributes of each.
	peers string
	// alone has only the last of them on the channel.
	alone bool
}

func (r rollers) containers() []string {
	return []string{r.name + "-peer0.org1", r.name + "-peer1.org1", r.name + "-peer2.org1"}
}

func (r rollers) String() string {
	return `
terraform {
  required_providers {
    fabric = { source = "fabricops/fabric" }
  }
}

provider "fabric" {
  alias          = "second"
  fabric_version = "3.1.1"
}
` + plainOrganizations(r.name, "3.1.1", "orderer", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "first" {
  for_each            = toset(["peer0", "peer1"])
  organization        = fabric_organization.org1.handle
  name                = "${each.key}.org1"
  deletion_protection = false
  %[1]s
}

resource "fabric_peer" "second" {
  provider            = fabric.second
  organization        = fabric_organization.org1.handle
  name                = "peer2.org1"
  deletion_protection = false
  %[1]s
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = merge(%[2]t ? {} : { for name, peer in fabric_peer.first : name => peer.handle }, { peer2 = fabric_peer.second.handle })
    }
  }
}
`, r.peers, r.alone)
}

// outages watches containers by the engine's events, and their endorsers by asking them.
type outages struct {
	t    *testing.T
	stop context.CancelFunc
	work sync.WaitGroup

	mu sync.Mutex
	// down are those that are down by now, worst the most at a time, gone how often each was down.
	down  map[string]bool
	worst int
	gone  map[string]int
	// silent is the most that did not answer in two looks one after the other, of so many looks.
	silent, looks int
}

// nodeHandles reads the handles of nodes, which hold on when a container is away.
func nodeHandles(t *testing.T, containers []string) map[string]network.Handle {
	t.Helper()
	out := map[string]network.Handle{}
	for _, name := range containers {
		out[name] = handleOfNode(t, name)
	}
	return out
}

// watchOutages begins a watch of peers by their containers' names; those that are down already count, and
// so does one whose container an apply that was killed had just removed.
func watchOutages(t *testing.T, on string, peers map[string]network.Handle) *outages {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := &outages{t: t, stop: cancel, down: map[string]bool{}, gone: map[string]int{}}
	for name := range peers {
		if n, err := localEngine(t).Node(ctx, name); err != nil || n.Status != engine.Running {
			o.down[name] = true
		}
	}
	stream := dockerClient(t).Events(ctx, client.EventsListOptions{
		Filters: client.Filters{}.Add("type", "container").Add("label", engine.LabelNetwork+"="+on),
	})
	o.work.Go(func() { o.listen(ctx, stream, peers) })
	o.work.Go(func() { o.ask(ctx, reads(t), slices.Collect(maps.Values(peers))) })
	t.Cleanup(func() { cancel(); o.work.Wait() })
	return o
}

func (o *outages) listen(ctx context.Context, stream client.EventsResult, peers map[string]network.Handle) {
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-stream.Err:
			if ctx.Err() == nil {
				o.t.Errorf("the engine's events ended: %v", err)
			}
			return
		case m := <-stream.Messages:
			name := m.Actor.Attributes["name"]
			if _, watched := peers[name]; watched {
				o.happened(name, m.Action)
			}
		}
	}
}

func (o *outages) happened(name string, action events.Action) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch action {
	case events.ActionDie:
		o.down[name] = true
		o.gone[name]++
		o.worst = max(o.worst, len(o.down))
	case events.ActionStart:
		delete(o.down, name)
	}
}

// ask looks again and again who answers. Only who does not in two looks counts: one may come back, and
// another go, while a look lasts.
func (o *outages) ask(ctx context.Context, f *network.Fabric, peers []network.Handle) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	before := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		facts, err := f.InspectChannel(attempt, peers[0].With(network.KindChannel, "trade", ""))
		cancel()
		if err != nil {
			continue
		}
		now, both := map[string]bool{}, 0
		for _, p := range peers {
			if facts.Heights[p.Name] == 0 {
				now[p.Name] = true
			}
			if now[p.Name] && before[p.Name] {
				both++
			}
		}
		o.mu.Lock()
		o.looks++
		o.silent = max(o.silent, both)
		o.mu.Unlock()
		before = now
	}
}

// end gives the most that were down at a time, and how often each was.
func (o *outages) end() (worst, silent int, gone map[string]int) {
	o.stop()
	o.work.Wait()
	o.t.Logf("down at a time: %d; silent: %d in %d looks; outages %v", o.worst, o.silent, o.looks, o.gone)
	return o.worst, o.silent, o.gone
}

// containerIDs tells containers from others of the same names.
func containerIDs(t *testing.T, names []string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range names {
		if n, err := localEngine(t).Node(t.Context(), name); err == nil {
			out[name] = n.ID
		}
	}
	return out
}

// terraformUnderTest gives the program that acceptance tests run; without one they are skipped.
func terraformUnderTest(t *testing.T) string {
	t.Helper()
	if os.Getenv(resource.EnvTfAcc) == "" {
		t.Skipf("acceptance tests run when %s is set", resource.EnvTfAcc)
	}
	return cmp.Or(os.Getenv("TF_ACC_TERRAFORM_PATH"), "terraform")
}

// acceptanceWorkspace gives a folder for Terraform's own processes, whose network is destroyed in the end.
func acceptanceWorkspace(t *testing.T, on string) *workspace {
	t.Helper()
	binary := terraformUnderTest(t)
	sweepNetwork(t, on)
	w := newWorkspace(t, binary)
	w.env = slices.DeleteFunc(w.env, func(entry string) bool { return strings.HasPrefix(entry, "TF_LOG") })
	t.Cleanup(func() {
		w.run("destroy", "-auto-approve")
		if err := nothingLeft(t, on)(nil); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestAccPeersRoll changes three peers of one organization at once, with Terraform's own processes: two
// of the peers are of one provider alias, the third is of another.
func TestAccPeersRoll(t *testing.T) {
	r := rollers{name: networkName(t)}
	w := acceptanceWorkspace(t, r.name)
	w.write("main.tf", r.String())
	w.run("apply", "-auto-approve", "-parallelism=20")
	apply := func(attributes string) []string {
		r.peers = attributes
		w.write("main.tf", r.String())
		return []string{"apply", "-auto-approve", "-parallelism=20"}
	}
	before, peers := containerIDs(t, r.containers()), nodeHandles(t, r.containers())

	t.Log("a change of all: one at a time")
	watch := watchOutages(t, r.name, peers)
	begun := time.Now()
	w.run(apply("limits = { memory_mib = 512 }")...)
	t.Logf("it took %s", time.Since(begun))
	if worst, silent, gone := watch.end(); worst != 1 || silent > 1 || len(gone) != 3 {
		t.Errorf("%d were down at a time, %d did not answer; outages %v", worst, silent, gone)
	}
	after := containerIDs(t, r.containers())
	for name, id := range before {
		if after[name] == id {
			t.Errorf("%s was not changed", name)
		}
	}
	w.run("plan", "-detailed-exitcode")

	t.Log("a change that none survives: one is lost, the others stay as they are")
	watch = watchOutages(t, r.name, peers)
	begun = time.Now()
	out := w.fail(apply("limits = { memory_mib = 16 }")...)
	t.Logf("it took %s", time.Since(begun))
	if worst, silent, gone := watch.end(); worst != 1 || silent > 1 || len(gone) != 1 {
		t.Errorf("%d were down at a time, %d did not answer; outages %v", worst, silent, gone)
	}
	same := 0
	for name, id := range containerIDs(t, r.containers()) {
		if after[name] == id {
			same++
		}
	}
	if same != 2 || runningOf(t, r.containers()) != 2 {
		t.Errorf("%d are as before, %d run; want 2", same, runningOf(t, r.containers()))
	}
	plain := plainText(out)
	for _, word := range []string{"was not changed, and goes on as it is", "max_unavailable", "Mend what is down first", "it exited with code"} {
		if !strings.Contains(plain, word) {
			t.Errorf("%q is not in\n%s", word, out)
		}
	}

	t.Log("the mend: what is down goes at once, the others have nothing to change")
	w.run(apply("limits = { memory_mib = 512 }")...)
	if up := runningOf(t, r.containers()); up != 3 {
		t.Errorf("%d run", up)
	}
	w.run("plan", "-detailed-exitcode")

	t.Log("all are down: one apply starts them, with another change on the way")
	stopNodes(t, r.containers()...)
	watch = watchOutages(t, r.name, peers)
	begun = time.Now()
	w.run(apply("limits = { memory_mib = 640 }")...)
	t.Logf("it took %s", time.Since(begun))
	watch.end()
	w.run("plan", "-detailed-exitcode")

	t.Log("killed in the middle, with a container removed that was to be made again: the next apply goes on")
	killMidway(t, w, watchOutages(t, r.name, peers), apply("limits = { memory_mib = 512 }"))
	removeNodes(t, func(n engine.Node) bool { return peers[n.Name].Name != "" && n.Status != engine.Running })
	watch = watchOutages(t, r.name, peers)
	begun = time.Now()
	w.run(apply("limits = { memory_mib = 512 }")...)
	t.Logf("it took %s", time.Since(begun))
	if worst, silent, gone := watch.end(); worst > 1 || silent > 1 {
		t.Errorf("%d were down at a time, %d did not answer; outages %v", worst, silent, gone)
	}
	w.run("plan", "-detailed-exitcode")

	t.Log("two leave the channel, for which each is stopped: one at a time")
	r.alone = true
	watch = watchOutages(t, r.name, peers)
	w.run(apply("limits = { memory_mib = 512 }")...)
	if worst, _, gone := watch.end(); worst != 1 || len(gone) != 2 {
		t.Errorf("%d were down at a time; outages %v", worst, gone)
	}
	w.run("plan", "-detailed-exitcode")
}

// killMidway begins an apply and kills it, with the providers, when the first peer is down.
func killMidway(t *testing.T, w *workspace, watch *outages, arguments []string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), w.terraform, append(arguments, "-no-color")...)
	command.Dir, command.Env = w.dir, w.env
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	err := eventually(t, func() error {
		watch.mu.Lock()
		defer watch.mu.Unlock()
		if watch.worst == 0 {
			return errors.New("no peer was taken down")
		}
		return nil
	})
	// Terraform starts its providers in its own process group.
	err = errors.Join(err, syscall.Kill(-command.Process.Pid, syscall.SIGKILL))
	_ = command.Wait() // it was killed
	watch.end()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, ".terraform.tfstate.lock.info")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
