package provider

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	fwresource "github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestEvenClusterWarns: an even number of consenters is allowed, and seldom what is meant.
func TestEvenClusterWarns(t *testing.T) {
	for n, want := range map[int]string{1: "", 2: "goes on after the loss of 0, and so does one of 1", 3: "", 4: "goes on after the loss of 1, and so does one of 3", 5: ""} {
		diags := validateCluster(t, n, nil)
		if diags.HasError() {
			t.Fatal(diags)
		}
		said := ""
		for _, d := range diags.Warnings() {
			said += d.Summary() + ": " + d.Detail()
		}
		if (want == "") != (said == "") || !strings.Contains(said, want) {
			t.Errorf("of %d nodes it says %q, want %q", n, said, want)
		}
	}
}

// validateCluster validates the configuration of a cluster with that many nodes.
func validateCluster(t *testing.T, n int, change func(*ordererClusterModel)) diag.Diagnostics {
	t.Helper()
	r := &ordererClusterResource{}
	var shape fwresource.SchemaResponse
	r.Schema(t.Context(), fwresource.SchemaRequest{}, &shape)
	state := tfsdk.State{Schema: shape.Schema, Raw: tftypes.NewValue(shape.Schema.Type().TerraformType(t.Context()), nil)}
	m := emptyCluster(t, shape.Schema)
	nodes := map[string]ordererModel{}
	for i := range n {
		nodes[fmt.Sprintf("orderer%d", i)] = ordererModel{Organization: types.ObjectNull(handleTypes), SANs: types.ListNull(types.StringType), memberCertificates: unknownCertificates()}
	}
	var diags diag.Diagnostics
	m.setNodes(t.Context(), nodes, &diags)
	if change != nil {
		change(m)
	}
	diags.Append(state.Set(t.Context(), m)...)
	if diags.HasError() {
		t.Fatal(diags)
	}
	var resp fwresource.ValidateConfigResponse
	r.ValidateConfig(t.Context(), fwresource.ValidateConfigRequest{Config: tfsdk.Config{Schema: shape.Schema, Raw: state.Raw}}, &resp)
	return resp.Diagnostics
}

func emptyCluster(t *testing.T, s schema.Schema) *ordererClusterModel {
	t.Helper()
	null := func(name string) attr.Value {
		value, err := s.Attributes[name].GetType().ValueFromTerraform(t.Context(), tftypes.NewValue(s.Attributes[name].GetType().TerraformType(t.Context()), nil))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	m := &ordererClusterModel{}
	m.Organization, m.Handle = types.ObjectNull(handleTypes), types.ObjectNull(handleTypes)
	m.Log, m.Limits, m.Labels = types.ObjectNull(logTypes), types.ObjectNull(limitsTypes), types.MapNull(types.StringType)
	m.Config, m.Timeouts = null("config").(types.Dynamic), noTimeouts()
	m.BFT = types.ObjectNull(bftTypes)
	m.Raft, m.Admins, m.External = types.ObjectNull(raftTypes), types.MapNull(handleType), types.MapNull(externalConsenterType)
	m.Channels, m.LastChange = types.MapNull(clusterChannelType), types.ListNull(types.StringType)
	return m
}

// TestAccProtection takes a cluster and two peers from their beginning to where they hold a ledger,
// and tries what would lose it.
func TestAccProtection(t *testing.T) {
	name := networkName(t)
	type parts struct{ cluster, nodes, peer0, peer1, channel, more string }
	config := func(p parts) string {
		out := plainOrganizations(name, "3.1.1", "orderer", "org1") + p.more
		if p.nodes != "" {
			out += clusterOf("this", fmt.Sprintf("nodes = { %s }\n  %s", p.nodes, p.cluster))
		}
		var peers []string
		for label, attributes := range map[string]string{"peer0": p.peer0, "peer1": p.peer1} {
			if attributes != "" {
				if !strings.Contains(attributes, "name ") {
					attributes = fmt.Sprintf("name = %q\n  %s", label+".org1", attributes)
				}
				out += peerOf(label, attributes)
				peers = append(peers, "fabric_peer."+label)
			}
		}
		if p.channel != "" {
			// Its peers are named by hand, so that they can go without it; channel may name one that is not in it.
			out += fmt.Sprintf(`
resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { for p in ["peer0", "peer1"] : p => merge(fabric_organization.org1.handle, { kind = "peer", name = "${p}.org1" }) if p != "%[2]s" }
    }
  }
  depends_on = [%[1]s]
}
`, strings.Join(peers, ", "), p.channel)
		}
		return out
	}
	gone := func(names ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			var left []error
			for _, n := range names {
				if _, err := localEngine(t).Node(t.Context(), name+"-"+n); !errors.Is(err, engine.ErrNotFound) {
					left = append(left, fmt.Errorf("container of %s: %v", n, err))
				}
				if _, err := localEngine(t).Volume(t.Context(), name+"-"+n); !errors.Is(err, engine.ErrNotFound) {
					left = append(left, fmt.Errorf("volume of %s: %v", n, err))
				}
			}
			return errors.Join(left...)
		}
	}
	kept := func(n string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			_, err := localEngine(t).Volume(t.Context(), name+"-"+n)
			return err
		}
	}
	const free = "deletion_protection = false"
	seen := &sightings{t: t, network: name}
	sweepNetwork(t, name)
	whole := parts{nodes: "orderer0 = {}", peer0: free + "\n  on_destroy = \"keep\"", peer1: " ", channel: "yes"}
	but := func(change func(*parts)) string {
		p := whole
		change(&p)
		return config(p)
	}
	protected := says("Protected from deletion", "would lose", "Apply deletion_protection = false first")
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{ // Fabric itself refuses what the overlay says, and the error has its words.
				Config:      config(parts{nodes: "orderer0 = {}, orderer1 = {}", cluster: `config = { General = { Profile = { Enabled = true, Address = "203.0.113.1:6060" } } }`}),
				ExpectError: says("Unable to create ordering cluster this", "unable to start orderer orderer", "it exited with code", "last log lines", "203.0.113.1:6060"),
			},
			{Config: config(parts{}), Check: gone("orderer0", "orderer1")},
			{PreConfig: func() { occupy(t, "127.0.0.1:16121") }, Config: config(parts{nodes: "orderer0 = {}, orderer1 = { admin_port = 16121 }"}),
				ExpectError: says("Unable to create ordering cluster this", "host port 127.0.0.1:16121", "is held by another program")},
			{Config: config(parts{}), Check: gone("orderer0", "orderer1")},
			{Config: config(parts{nodes: "orderer0 = {}, orderer1 = {}"}), Check: resource.TestCheckResourceAttr("fabric_orderer_cluster.this", "nodes.%", "2")},
			// Without a channel nodes come and go, and protection has not begun.
			{Config: config(parts{nodes: "orderer0 = {}, orderer2 = {}", cluster: "on_destroy = \"keep\""}), Check: gone("orderer1")},
			{Config: config(parts{nodes: "orderer0 = {}"}), Check: gone("orderer1", "orderer2")},
			{Config: config(parts{}), Check: gone("orderer0")},
			{Config: config(whole), Check: seen.check},
			// With one, nothing that holds its ledger can go,
			{Config: but(func(p *parts) { p.peer1 = "" }), ExpectError: protected},
			{Config: but(func(p *parts) { p.peer1 = "name = \"peer9.org1\"" }), ExpectError: protected},
			{Config: config(parts{}), ExpectError: protected},
			// not even when its container is down and cannot be asked,
			{PreConfig: func() { stopNodes(t, name+"-peer1.org1") }, Config: but(func(p *parts) { p.peer1 = "" }), ExpectError: protected},
			// nor by a replacement, which shows no deletion to the plan.
			{Taint: []string{"fabric_peer.peer1"}, Config: config(whole), ExpectError: protected},
			{ // A resource that was forgotten comes back by import, as what the configuration says.
				Config: but(func(p *parts) {
					p.peer1, p.more = "", "removed {\n  from = fabric_peer.peer1\n  lifecycle { destroy = false }\n}\n"
				}),
			},
			{
				Config: but(func(p *parts) {
					p.peer1, p.cluster = free, free
					p.more = fmt.Sprintf("import {\n  to = fabric_peer.peer1\n  id = \"%s/peer1.org1\"\n}\n", name)
				}),
				Check: seen.check,
			},
			// A volume that is kept is taken up again: the peer joins its channel anew with the keys that it had.
			{Config: but(func(p *parts) { p.peer0, p.peer1, p.cluster, p.channel = "", free, free, "peer0" }), Check: kept("peer0.org1")},
			{Config: but(func(p *parts) { p.peer0, p.peer1, p.cluster = free, free, free }), Check: seen.check},
			{ // A peer that is lost begins anew and joins its channel again.
				PreConfig: func() {
					removeNodes(t, func(n engine.Node) bool { return n.Name == name+"-peer1.org1" })
					removeVolume(t, name+"-peer1.org1")
					delete(seen.volumes, name+"-peer1.org1")
					delete(seen.heights, "peer1.org1")
				},
				Config: but(func(p *parts) { p.peer0, p.peer1, p.cluster = free, free+"\n  accept_data_loss = true", free }),
				Check: resource.ComposeTestCheckFunc(seen.check, func(*terraform.State) error {
					if seen.heights["peer1.org1"] == 0 {
						return errors.New("peer1.org1 has not joined the channel")
					}
					return nil
				}),
			},
			{
				PreConfig: func() {
					removeNodes(t, func(n engine.Node) bool { return n.Name == name+"-orderer0" })
					removeVolume(t, name+"-orderer0")
				},
				Config:      but(func(p *parts) { p.peer0, p.peer1, p.cluster = free, free, free }),
				ExpectError: says("The volume is gone", "accept_data_loss"),
			},
		},
	})
}
