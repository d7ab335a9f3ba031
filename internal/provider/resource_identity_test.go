package provider

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// notImported are the resources that cannot be imported, as their pages say.
var notImported = []string{"fabric_backup", "fabric_channel_proposal", "fabric_channel_signature", "fabric_channel_submission", "fabric_release_approval", "fabric_release_proposal"}

// TestEveryResourceIsImported by one table: a resource has an import ID and an identity, or is known not
// to be imported; and what serves it with its identity keeps nothing of it back.
func TestEveryResourceIsImported(t *testing.T) {
	p := New("test")()
	var all []string
	for _, create := range p.Resources(t.Context()) {
		r := create()
		name := typeName(t.Context(), r)
		all = append(all, name)
		with, ok := r.(identified)
		if _, importing := r.(resource.ResourceWithImportState); importing != ok || ok == slices.Contains(notImported, name) {
			t.Errorf("%s: imported %v, with an identity %v", name, importing, ok)
		}
		if !ok {
			continue
		}
		if len(with.identity.parts) == 0 {
			t.Errorf("%s is not in resourceIdentities", name)
		}
		inner := any(with.importable)
		_, validators := inner.(resource.ResourceWithConfigValidators)
		_, upgrades := inner.(resource.ResourceWithUpgradeState)
		_, moves := inner.(resource.ResourceWithMoveState)
		_, identities := inner.(resource.ResourceWithUpgradeIdentity)
		if validators || upgrades || moves || identities {
			t.Errorf("%s has something that identified has to hand on", name)
		}
	}
	for name := range resourceIdentities {
		if !slices.Contains(all, name) {
			t.Errorf("%s is no resource", name)
		}
	}
}

// TestEveryKindIsListed that the engine can tell: what can be imported, but for transactions.
func TestEveryKindIsListed(t *testing.T) {
	p, ok := New("test")().(interface {
		ListResources(ctx context.Context) []func() list.ListResource
	})
	if !ok {
		t.Fatal("nothing is listed")
	}
	listed := map[string]bool{}
	for _, create := range p.ListResources(t.Context()) {
		r := create()
		var named resource.MetadataResponse
		r.Metadata(t.Context(), resource.MetadataRequest{ProviderTypeName: "fabric"}, &named)
		var described list.ListResourceSchemaResponse
		r.ListResourceConfigSchema(t.Context(), list.ListResourceSchemaRequest{}, &described)
		if described.Schema.MarkdownDescription == "" {
			t.Errorf("%s is not described", named.TypeName)
		}
		listed[named.TypeName] = true
	}
	for name := range resourceIdentities {
		if listed[name] == (name == "fabric_transaction") {
			t.Errorf("%s: listed %v", name, listed[name])
		}
	}
	if len(listed) != len(network.ListedKinds) {
		t.Errorf("listed are %v, and of the engine %v", listed, network.ListedKinds)
	}
}

// identityHandles name one thing of each type, as its identity and its import ID do.
var identityHandles = map[string]struct {
	handle network.Handle
	id     string
}{
	"fabric_network":            {network.Handle{Kind: network.KindNetwork, Name: "dev"}, "dev/0123456789abcdef"},
	"fabric_ca":                 {network.Handle{Kind: network.KindCA, Name: "ca.org1"}, "dev/ca.org1"},
	"fabric_organization":       {network.Handle{Kind: network.KindOrganization, Name: "Org1MSP", MSPID: "Org1MSP"}, "dev/Org1MSP"},
	"fabric_identity":           {network.Handle{Kind: network.KindIdentity, Name: "clerk", MSPID: "Org1MSP"}, "dev/Org1MSP/clerk"},
	"fabric_crl":                {network.Handle{Kind: network.KindOrganization, Name: "Org1MSP", MSPID: "Org1MSP"}, "dev/Org1MSP"},
	"fabric_peer":               {network.Handle{Kind: network.KindPeer, Name: "peer0.org1", MSPID: "Org1MSP"}, "dev/peer0.org1"},
	"fabric_orderer_cluster":    {network.Handle{Kind: network.KindOrdererCluster, Name: "orderers", MSPID: "OrdererMSP"}, "dev/orderers"},
	"fabric_orderer":            {network.Handle{Kind: network.KindOrderer, Name: "orderer0.org2", MSPID: "Org2MSP"}, "dev/orderer0.org2"},
	"fabric_channel":            {network.Handle{Kind: network.KindChannel, Name: "trade"}, "dev/trade"},
	"fabric_channel_membership": {network.Handle{Kind: network.KindChannelMembership, Name: "trade", MSPID: "Org2MSP"}, "dev/Org2MSP/trade"},
	"fabric_chaincode":          {network.Handle{Kind: network.KindChaincode, Name: "trade/asset"}, "dev/trade/asset"},
	"fabric_chaincode_approval": {network.Handle{Kind: network.KindChaincodeApproval, Name: "trade/asset", MSPID: "Org2MSP"}, "dev/Org2MSP/trade/asset"},
	"fabric_transaction":        {network.Handle{Kind: network.KindChaincode, Name: "trade/asset"}, "dev/trade/" + strings.Repeat("0a", 32)},
}

// vanished is a resource that is gone when it is read.
type vanished struct{ importable }

func (vanished) Read(ctx context.Context, _ resource.ReadRequest, resp *resource.ReadResponse) {
	resp.State.RemoveResource(ctx)
}

// TestResourceIdentity: a state, its identity and its import ID say the same.
func TestResourceIdentity(t *testing.T) {
	ctx := t.Context()
	for _, create := range New("test")().Resources(ctx) {
		r, ok := create().(identified)
		if !ok {
			continue
		}
		name := typeName(t.Context(), r)
		t.Run(name, func(t *testing.T) {
			example, ok := identityHandles[name]
			if !ok {
				t.Fatal("give a thing of this type in identityHandles")
			}
			example.handle.Network, example.handle.Owner = "dev", "0123456789abcdef"
			identity := emptyIdentity(t, r)
			var diags diag.Diagnostics
			r.identify(ctx, stateOf(t, r, name, example.handle), &identity, &diags)
			if got := r.identity.asked(ctx, identity, &diags); got != example.id || diags.HasError() {
				t.Errorf("the identity %s asks for %q (%v), not for %q", identity.Raw, got, diags, example.id)
			}
			if err := r.identity.check(example.id); err != nil {
				t.Error(err)
			}
			// A Terraform that knows of no identities sends none, and the framework wants one of what is gone, too.
			gone, there := emptyIdentity(t, r), stateOf(t, r, name, example.handle)
			read := resource.ReadResponse{State: there, Identity: &gone}
			identified{vanished{r.importable}, r.identity}.Read(ctx, resource.ReadRequest{State: there}, &read)
			if got := r.identity.asked(ctx, gone, &diags); got != example.id || diags.HasError() || !read.State.Raw.IsNull() {
				t.Errorf("the identity of what is gone is %s (%v)", gone.Raw, diags)
			}
			for _, wrong := range []string{"", "/", "a/b/c/d/e", example.id + "/x", "dev@x=/a/b/c/d"} {
				if err := r.identity.check(wrong); err == nil || !strings.Contains(err.Error(), "must be ") {
					t.Errorf("the import ID %q: %v", wrong, err)
				}
			}
			// What holds a slash would be another import ID, and what is missing none.
			for _, part := range r.identity.parts {
				for _, value := range []string{"a/b", ""} {
					if value == "" && part.optional {
						continue
					}
					wrong, told := tfsdk.ResourceIdentity{Schema: identity.Schema, Raw: identity.Raw.Copy()}, diag.Diagnostics{}
					told.Append(wrong.SetAttribute(ctx, path.Root(part.name), value)...)
					if r.identity.asked(ctx, wrong, &told); !told.HasError() {
						t.Errorf("the %s %q is taken", part.name, value)
					}
				}
			}
			// A create that failed before anything was known leaves no identity.
			nothing := emptyIdentity(t, r)
			r.identify(ctx, stateOf(t, r, name, network.Handle{}), &nothing, &diags)
			if !nothing.Raw.IsNull() {
				t.Errorf("of nothing: %s", nothing.Raw)
			}
		})
	}
}

// TestImportExamples: what the documentation shows is what the table says.
func TestImportExamples(t *testing.T) {
	for name, identity := range resourceIdentities {
		shown := func(file string) string {
			content, err := os.ReadFile(filepath.Join("../../examples/resources", name, file))
			if err != nil {
				t.Error(err)
			}
			return string(content)
		}
		command, _, _ := strings.Cut(shown("import.sh"), "\n\n") // what follows adopts what something else made
		words := strings.Fields(command)
		id := words[len(words)-1]
		if err := identity.check(id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if block := shown("import-by-string-id.tf"); !strings.Contains(block, strconv.Quote(id)) {
			t.Errorf("%s: its import block has another ID than its command: %s", name, block)
		}
		block, parts := shown("identity.tf"), strings.Split(id, "/")
		for n, part := range identity.parts {
			if !part.optional && !strings.Contains(strings.Join(strings.Fields(block), " "), part.name+" = "+strconv.Quote(parts[n])) {
				t.Errorf("%s: its identity does not say the %s of its ID: %s", name, part.name, block)
			}
		}
	}
}

func emptyIdentity(t *testing.T, r identified) tfsdk.ResourceIdentity {
	t.Helper()
	var described resource.IdentitySchemaResponse
	r.IdentitySchema(t.Context(), resource.IdentitySchemaRequest{}, &described)
	if diags := described.IdentitySchema.ValidateImplementation(t.Context()); diags.HasError() {
		t.Fatal(diags)
	}
	return tfsdk.ResourceIdentity{Schema: described.IdentitySchema, Raw: tftypes.NewValue(described.IdentitySchema.Type().TerraformType(t.Context()), nil)}
}

// stateOf is a state of which nothing is known but what a thing is called.
func stateOf(t *testing.T, r identified, name string, h network.Handle) tfsdk.State {
	t.Helper()
	var described resource.SchemaResponse
	r.Schema(t.Context(), resource.SchemaRequest{}, &described)
	state := tfsdk.State{Schema: described.Schema, Raw: empty(t.Context(), described.Schema.Type())}
	var diags diag.Diagnostics
	at := "handle"
	switch name {
	case "fabric_crl":
		at = "organization"
	case "fabric_transaction":
		at = "chaincode"
		if h.Name != "" {
			diags.Append(state.SetAttribute(t.Context(), path.Root("transaction_id"), types.StringValue(strings.Repeat("0a", 32)))...)
		}
	}
	if _, has := described.Schema.Attributes[at].(schema.ObjectAttribute); !has {
		t.Fatalf("no handle in %s", at)
	}
	diags.Append(state.SetAttribute(t.Context(), path.Root(at), handleValue(h))...)
	if diags.HasError() {
		t.Fatal(diags)
	}
	return state
}

// TestImportBlocks: they are pasted as they are, because Terraform does not wrap lines that begin with a space.
func TestImportBlocks(t *testing.T) {
	dev := network.Handle{Network: "dev", Owner: "0123456789abcdef"}
	got := importBlocks(dev.With(network.KindPeer, "peer0.org1", "Org1MSP"), dev.With(network.KindIdentity, "clerk", "Org1MSP"),
		(&network.ExistsError{Thing: dev.With(network.KindOrderer, "orderer0", "Org1MSP"), Cluster: "orderers"}).Resource())
	const want = `  import {
    to = fabric_peer.peer0_org1
    id = "dev/peer0.org1"
  }
  import {
    to = fabric_identity.Org1MSP_clerk
    id = "dev/Org1MSP/clerk"
  }
  import {
    to = fabric_orderer_cluster.orderers
    id = "dev/orderers"
  }`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
