//go:build unix

package kill

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// config is a small network: two organizations with a peer each, one that orders. owner_id is for a
// network whose state was lost, protect for what a newcomer has who sets nothing; with the others the
// network is changed.
const config = `
terraform {
  required_providers {
    fabric = { source = "fabricops/fabric" }
  }
}

variable "owner_id" {
  default = null
}

variable "protect" {
  type    = bool
  default = false
}

variable "orderers" {
  type    = number
  default = 1
}

variable "more_peers" {
  type    = map(string)
  default = {}
}

variable "batch_timeout" {
  default = "2s"
}

variable "chaincode" {
  default = "1.0"
}

variable "join_from" {
  default = null
}

variable "backup" {
  default = null
}

variable "pids" {
  type    = number
  default = null
}

variable "limit" {
  default = null
}

locals {
  peers    = merge({ "peer0.org1" = "org1", "peer0.org2" = "org2" }, var.more_peers)
  limits   = var.pids == null ? null : { pids = var.pids }
  timeouts = var.limit == null ? null : { create = var.limit, update = var.limit, delete = var.limit }
}

resource "fabric_network" "this" {
  name     = "NETWORK"
  domain   = "example.com"
  owner_id = var.owner_id
}

resource "fabric_ca" "this" {
  for_each            = toset(["orderer", "org1", "org2"])
  network             = fabric_network.this.handle
  name                = "ca.${each.key}"
  organization        = each.key
  deletion_protection = var.protect
}

resource "fabric_organization" "this" {
  for_each = fabric_ca.this
  msp_id   = "${title(each.key)}MSP"
  ca       = each.value.handle
}

resource "fabric_identity" "app" {
  organization = fabric_organization.this["org1"].handle
  name         = "app"
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { for i in range(var.orderers) : "orderer${i}" => {} }
  limits              = local.limits
  deletion_protection = var.protect
  timeouts            = local.timeouts
}

resource "fabric_peer" "this" {
  for_each            = local.peers
  organization        = fabric_organization.this[each.value].handle
  name                = each.key
  limits              = local.limits
  deletion_protection = var.protect
  timeouts            = local.timeouts
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  batch_timeout     = var.batch_timeout
  join_from         = var.join_from
  organizations = {
    for org in ["org1", "org2"] : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { for name, of in local.peers : name => fabric_peer.this[name].handle if of == org }
    }
  }
  deletion_protection = var.protect
  timeouts            = local.timeouts
}

resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = var.chaincode
  server             = { image = "fabricops/kv-chaincode:${var.chaincode}" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
  timeouts           = local.timeouts
}

resource "fabric_transaction" "first" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_identity.app.handle
  function  = "put"
  arguments = ["greeting", "hello"]
}

data "fabric_query" "greeting" {
  chaincode  = fabric_chaincode.asset.handle
  identity   = fabric_identity.app.handle
  function   = "get"
  arguments  = ["greeting"]
  depends_on = [fabric_transaction.first, fabric_peer.this] # an apply that starts a peer reads afterwards
}

resource "fabric_backup" "this" {
  count         = var.backup == null ? 0 : 1
  network       = fabric_network.this.handle
  path          = var.backup
  passphrase_wo = "canary-of-a-backup-9Zq4"
  depends_on    = [data.fabric_query.greeting] # who reads does it before peers stand still
}

output "answer" {
  value = data.fabric_query.greeting.result
}
`

// killedNetwork is the name of the network of TestAccKill.
const killedNetwork = "acc-kill"

// victim is what is killed.
type victim string

const (
	theProvider victim = "the provider"
	both        victim = "Terraform and the provider"
	onlyItself  victim = "Terraform"
)

// orphanTime is how long a provider may live on when its Terraform was killed.
const orphanTime = 10 * time.Second

// TestAccKill kills the provider and Terraform at random moments of an apply. One more apply must
// give the whole network, with every volume and key that was there; then the plan is empty.
func TestAccKill(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 makes a network on a Docker engine")
	}
	seed, kills := number(t, "FABRIC_KILL_SEED", uint64(time.Now().UnixNano())), number(t, "FABRIC_KILLS", 3)
	t.Logf("FABRIC_KILL_SEED=%d FABRIC_KILLS=%d", seed, kills)
	k := &killing{
		network:   killedNetwork,
		workspace: newWorkspace(t, providerBinary(t), strings.Replace(config, "NETWORK", killedNetwork, 1)),
		host:      openHost(t), random: rand.New(rand.NewPCG(seed, 0)),
	}
	k.host.clean(t, killedNetwork) // of an earlier run that was ended itself
	t.Cleanup(func() { k.host.clean(t, killedNetwork) })

	t.Run("undisturbed", k.undisturbed)
	if t.Failed() {
		t.FailNow()
	}
	for i := range kills {
		who := []victim{theProvider, both, onlyItself}[i%3]
		moment := time.Duration(k.random.Int64N(int64(k.duration)))
		t.Run(fmt.Sprintf("%d: %s after %s", i+1, who, moment.Round(time.Millisecond)), func(t *testing.T) { k.kill(t, who, moment) })
	}
	for range max(1, kills/3) {
		moment := time.Duration(k.random.Int64N(int64(k.duration)))
		t.Run(fmt.Sprintf("interrupt after %s", moment.Round(time.Millisecond)), func(t *testing.T) { k.interrupt(t, moment) })
	}
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func providerBinary(t *testing.T) string {
	t.Helper()
	if binary := os.Getenv("FABRIC_PROVIDER_BINARY"); binary != "" {
		return binary
	}
	binary := filepath.Join(t.TempDir(), "terraform-provider-fabric")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("unable to build the provider: %v\n%s", err, output)
	}
	return binary
}

// killing is what the parts of TestAccKill share.
type killing struct {
	network   string
	workspace *workspace
	host      *host
	random    *rand.Rand
	// duration is that of an apply which nobody disturbs, destruction that of the last destroy; whole
	// is what the engine holds after the apply.
	duration, destruction time.Duration
	whole                 picture
	// meanwhile, when not nil, looks at the network while the plan after an apply is made.
	meanwhile func(t *testing.T)
}

// in gives the workspace to a part of the test, so that failures are that part's.
func (k *killing) in(t *testing.T) *workspace {
	w := *k.workspace
	w.t = t
	return &w
}

// undisturbed measures an apply, and then has the state vanish: the error names the owner_id, and an
// apply with it takes everything up.
func (k *killing) undisturbed(t *testing.T) {
	w := k.in(t)
	defer k.reset(w)
	k.duration = w.mustRun(apply()...).took
	k.whole = k.host.take(t, k.network)
	k.check(w)
	t.Logf("an apply takes %s", k.duration.Round(time.Millisecond))
	w.loseState()
	k.converge(w, k.whole, nil)
	w.unchanged() // the owner_id is needed once only
	k.destroy(w)
}

// kill kills at a moment of an apply, and has the next one converge.
func (k *killing) kill(t *testing.T, who victim, moment time.Duration) {
	w := k.in(t)
	defer k.reset(w)
	r := w.start(apply()...)
	if !w.sleep(r, moment) {
		t.Logf("the apply was over after %s already", r.took.Round(time.Millisecond))
		k.duration = r.took
	}
	terraform := func() {
		if err := r.command.Process.Kill(); err != nil && !r.over() {
			t.Fatal(err)
		}
	}
	switch who {
	case theProvider:
		w.killProviders(r)
	case both:
		terraform()
		w.killProviders(r)
	case onlyItself:
		terraform()
	}
	r.wait()
	defer func() {
		if t.Failed() {
			t.Logf("the apply that was disturbed:\n%s", r.tail())
		}
	}()
	t.Logf("%s was killed; made by then: %s", who, strings.Join(made(r), ", "))
	w.awaitNoProvider(orphanTime)
	k.converge(w, k.host.take(t, k.network), nil)
	if who == theProvider { // Terraform lives, and knows what it has not destroyed yet
		moment := time.Duration(k.random.Int64N(int64(k.destruction)))
		r := w.start("destroy", "-auto-approve", "-input=false")
		w.sleep(r, moment)
		w.killProviders(r)
		r.wait()
		t.Logf("the provider was killed %s after destroy began", moment.Round(time.Millisecond))
	}
	k.destroy(w)
}

// sleep waits for a moment of a command; false when it is over before.
func (w *workspace) sleep(r *run, moment time.Duration) bool {
	at := time.NewTimer(moment)
	defer at.Stop()
	select {
	case <-at.C:
		return true
	case <-r.ended:
		return false
	}
}

var creation = regexp.MustCompile(`(?m)^fabric_(\S+): (Creating|Creation complete)`)

// made gives what the output says: resources with a question mark had only been begun.
func made(r *run) []string {
	seen := map[string]string{}
	for _, m := range creation.FindAllStringSubmatch(r.output.String(), -1) {
		seen[m[1]] = m[2]
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if seen[name] == "Creating" {
			name += "?"
		}
		out = append(out, name)
	}
	return out
}

// interrupt is Ctrl-C, in a configuration that protects everything from deletion, as it is by
// default.
func (k *killing) interrupt(t *testing.T, moment time.Duration) {
	const protected = "protect=true"
	w := k.in(t)
	defer k.reset(w)
	r := w.start(apply(protected)...)
	w.sleep(r, moment)
	sent := time.Now()
	if err := r.command.Process.Signal(syscall.SIGINT); err != nil && !r.over() {
		t.Fatal(err)
	}
	r.wait()
	if took := time.Since(sent); took > graceTime {
		t.Errorf("Terraform ended %s after the interrupt", took.Round(time.Millisecond))
	} else {
		t.Logf("Terraform ended %s after the interrupt; made by then: %s", took.Round(time.Millisecond), strings.Join(made(r), ", "))
	}
	w.awaitNoProvider(orphanTime)
	state, err := w.state()
	if err != nil {
		t.Fatalf("the state cannot be read: %v", err)
	}
	// What Terraform saw fail it makes anew, with volumes and keys.
	k.converge(w, k.host.take(t, k.network), state.tainted(), protected)
	w.mustRun(apply()...) // takes the protection away
	k.destroy(w)
}

var ownerNamed = regexp.MustCompile(`owner_id[^0-9a-f]*"?([0-9a-f]{16})`)

// converge applies once more and checks that nothing was lost since the picture. Where the state has
// lost the network, the apply must name its owner, and one with that owner_id converges. It gives what is
// there then.
func (k *killing) converge(w *workspace, before picture, remade map[string]bool, variables ...string) picture {
	t := w.t
	t.Helper()
	state, err := w.state()
	if err != nil {
		t.Logf("the state was half-written (%v): removed", err)
		w.loseState()
	}
	if _, there := before.objects["network "+k.network]; there && !state.has("fabric_network") {
		r := w.apply(variables...)
		named := ownerNamed.FindStringSubmatch(r.output.String())
		if r.wait() == 0 || named == nil {
			t.Fatalf("the network of a lost state was not refused with its owner_id:\n%s", r.tail())
		}
		t.Logf("the state has no network: going on with owner_id %s", named[1])
		variables = append(slices.Clone(variables), "owner_id="+named[1])
	}
	again := w.mustRun(apply(variables...)...)
	plan := w.plan(variables...) // it only reads, and so goes on beside the looks
	after := k.host.take(t, k.network)
	if k.meanwhile != nil {
		k.meanwhile(t)
	}
	defer func() {
		if t.Failed() {
			t.Logf("the apply after it:\n%s", again.tail())
		}
	}()
	for _, lost := range before.lost(after, remade) {
		t.Error(lost)
	}
	for _, difference := range k.whole.differences(after) {
		t.Error(difference)
	}
	w.mustBeEmpty(plan)
	k.check(w)
	return after
}

// check has the chaincode answer.
func (k *killing) check(w *workspace) {
	w.t.Helper()
	if answer := w.value("answer"); answer != "hello" {
		w.t.Errorf("the chaincode answers %q", answer)
	}
}

// destroy destroys, and checks that nothing is left.
func (k *killing) destroy(w *workspace) {
	w.t.Helper()
	k.destruction = w.mustRun("destroy", "-auto-approve", "-input=false").took
	for object := range k.host.take(w.t, k.network).objects {
		w.t.Errorf("%s is left", object)
	}
}

// reset lets the next part begin with nothing, whatever became of this one.
func (k *killing) reset(w *workspace) {
	w.t.Helper()
	k.host.clean(w.t, k.network)
	for _, name := range []string{stateFile, stateFile + ".backup"} {
		if err := os.RemoveAll(filepath.Join(w.dir, name)); err != nil {
			w.t.Error(err)
		}
	}
}
