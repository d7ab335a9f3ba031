package provider

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

var readHandle = network.Handle{Network: "dev", Domain: "example.com", Owner: "0123456789abcdef", Name: "dev"}

// fakeSession is a configured provider over an engine in memory.
func fakeSession(t *testing.T) (*session, *enginetest.Fake) {
	t.Helper()
	fake := enginetest.NewFake()
	f := network.New(fake)
	t.Cleanup(func() { _ = f.Close() })
	return &session{open: func() (*network.Fabric, error) { return f, nil }}, fake
}

func dataSchema(t *testing.T, d datasource.DataSource) schema.Schema {
	t.Helper()
	resp := datasource.SchemaResponse{}
	d.Schema(t.Context(), datasource.SchemaRequest{}, &resp)
	if resp.Diagnostics.HasError() {
		t.Fatal(resp.Diagnostics)
	}
	return resp.Schema
}

// emptyState is a state in which every attribute is null.
func emptyState(t *testing.T, s schema.Schema) tfsdk.State {
	t.Helper()
	object := s.Type().TerraformType(t.Context()).(tftypes.Object)
	values := map[string]tftypes.Value{}
	for name, kind := range object.AttributeTypes {
		values[name] = tftypes.NewValue(kind, nil)
	}
	return tfsdk.State{Schema: s, Raw: tftypes.NewValue(object, values)}
}

// readSource reads a data source with the given arguments.
func readSource(t *testing.T, d datasource.DataSource, s *session, arguments map[string]attr.Value) (tfsdk.State, diag.Diagnostics) {
	t.Helper()
	kind := dataSchema(t, d)
	config := emptyState(t, kind)
	for name, value := range arguments {
		if diags := config.SetAttribute(t.Context(), path.Root(name), value); diags.HasError() {
			t.Fatal(diags)
		}
	}
	configured := datasource.ConfigureResponse{}
	d.(datasource.DataSourceWithConfigure).Configure(t.Context(), datasource.ConfigureRequest{ProviderData: s}, &configured)
	if configured.Diagnostics.HasError() {
		t.Fatal(configured.Diagnostics)
	}
	resp := datasource.ReadResponse{State: emptyState(t, kind)}
	d.Read(t.Context(), datasource.ReadRequest{Config: tfsdk.Config{Schema: kind, Raw: config.Raw}}, &resp)
	return resp.State, resp.Diagnostics
}

// TestDataSourceSchemas holds every data source to a valid schema, descriptions of everything, and a
// model that has exactly the attributes of the schema.
func TestDataSourceSchemas(t *testing.T) {
	for name, c := range map[string]struct {
		source datasource.DataSource
		model  any
	}{
		"fabric_channel":            {newChannelDataSource(), &channelFactsModel{}},
		"fabric_query":              {newQueryDataSource(), &queryModel{}},
		"fabric_connection_profile": {newConnectionProfileDataSource(), &connectionProfileModel{}},
		"fabric_node_config":        {newNodeConfigDataSource(), &nodeConfigModel{}},
		"fabric_health":             {newHealthDataSource(), &healthModel{}},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := datasource.MetadataResponse{}
			c.source.Metadata(t.Context(), datasource.MetadataRequest{ProviderTypeName: "fabric"}, &metadata)
			if metadata.TypeName != name {
				t.Errorf("it is called %q", metadata.TypeName)
			}
			s := dataSchema(t, c.source)
			if diags := s.ValidateImplementation(t.Context()); diags.HasError() {
				t.Error(diags)
			}
			if s.MarkdownDescription == "" {
				t.Error("it is not described")
			}
			attributesDescribed(t, "", s.Attributes)
			state := emptyState(t, s)
			if diags := state.Get(t.Context(), c.model); diags.HasError() {
				t.Errorf("the model is not the schema's: %v", diags)
			}
		})
	}
}

func attributesDescribed(t *testing.T, at string, attributes map[string]schema.Attribute) {
	t.Helper()
	for name, a := range attributes {
		if a.GetMarkdownDescription() == "" {
			t.Errorf("%s%s is not described", at, name)
		}
		if nested, ok := a.(schema.SingleNestedAttribute); ok {
			attributesDescribed(t, at+name+".", nested.Attributes)
		}
	}
}

// TestReadBeforeItIsMade: what does not exist is an error that names the argument and the way out.
func TestReadBeforeItIsMade(t *testing.T) {
	organization := handleValue(readHandle.With(network.KindOrganization, "Org1MSP", "Org1MSP"))
	for name, c := range map[string]struct {
		source    datasource.DataSource
		arguments map[string]attr.Value
		at        string
	}{
		"a channel": {newChannelDataSource(), map[string]attr.Value{"channel": handleValue(readHandle.With(network.KindChannel, "trade", ""))}, "channel"},
		"a chaincode": {newQueryDataSource(), map[string]attr.Value{
			"chaincode": handleValue(readHandle.With(network.KindChaincode, "trade/asset", "")), "identity": organization, "function": types.StringValue("get"),
		}, "chaincode"},
		"an organization": {newConnectionProfileDataSource(), map[string]attr.Value{"organization": organization}, "organization"},
		"a profile's channel": {newConnectionProfileDataSource(), map[string]attr.Value{
			"organization": organization, "channel": handleValue(readHandle.With(network.KindChannel, "trade", "")),
		}, "channel"},
		"a peer":     {newNodeConfigDataSource(), map[string]attr.Value{"node": handleValue(readHandle.With(network.KindPeer, "peer0", "Org1MSP"))}, "node"},
		"no cluster": {newNodeConfigDataSource(), map[string]attr.Value{"node": handleValue(readHandle.With(network.KindOrdererCluster, "raft", "OrdererMSP"))}, "node"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := fakeSession(t)
			_, diags := readSource(t, c.source, s, c.arguments)
			if len(diags) != 1 || !diags.HasError() {
				t.Fatalf("the diagnostics are %v, want one error", diags)
			}
			located, ok := diags[0].(diag.DiagnosticWithPath)
			if !ok || !located.Path().Equal(path.Root(c.at)) {
				t.Errorf("%v is not about %s", diags[0], c.at)
			}
			if !strings.Contains(diags[0].Detail(), "depends_on") {
				t.Errorf("the detail does not say what to do: %s", diags[0].Detail())
			}
		})
	}
}

func TestReadWithoutAnEngine(t *testing.T) {
	s, fake := fakeSession(t)
	fake.SetUnreachable(true)
	_, diags := readSource(t, newChannelDataSource(), s, map[string]attr.Value{"channel": handleValue(readHandle.With(network.KindChannel, "trade", ""))})
	if !diags.HasError() || !strings.Contains(diags[0].Detail(), "docker_host") {
		t.Errorf("the diagnostics are %v, want one that names docker_host", diags)
	}
	unset := newSession(providerModel{DockerHost: types.StringUnknown()})
	_, diags = readSource(t, newChannelDataSource(), unset, map[string]attr.Value{"channel": handleValue(readHandle.With(network.KindChannel, "trade", ""))})
	if !diags.HasError() || !strings.Contains(diags[0].Detail(), "not known yet") {
		t.Errorf("the diagnostics are %v, want one that says that a setting is not known", diags)
	}
}

func TestChannelFacts(t *testing.T) {
	facts := network.ChannelFacts{
		Height: 9, Heights: map[string]uint64{"peer0.org1": 9, "orderer0": 8}, Configuration: []byte("{}\n"),
		Summary: configtx.Summary{
			Channel: "trade", Block: 4, Sequence: 2,
			ChannelCapabilities: []string{"V2_0"}, OrdererCapabilities: []string{"V2_0"}, ApplicationCapabilities: []string{"V2_5"},
			OrdererOrganizations: []configtx.OrganizationSummary{{Name: "OrdererMSP", Definition: msp.Definition{ID: "OrdererMSP"}}},
			ApplicationOrganizations: []configtx.OrganizationSummary{
				{Name: "Org1", Definition: msp.Definition{ID: "Org1MSP"}, AnchorPeers: []configtx.Address{{Host: "peer0.org1.example.com", Port: 7051}}},
				{Name: "Org2", Definition: msp.Definition{ID: "Org2MSP"}},
			},
			ConsensusType: "etcdraft",
			Consenters:    []configtx.ConsenterSummary{{Consenter: configtx.Consenter{Host: "orderer0.example.com", Port: 7050}}},
			Policies:      map[string]string{"/Channel/Application/Writers": "ANY Writers"},
		},
	}
	model := channelFactsModel{Channel: handleValue(readHandle.With(network.KindChannel, "trade", ""))}
	var diags diag.Diagnostics
	model.take(t.Context(), facts, &diags)
	state := emptyState(t, dataSchema(t, newChannelDataSource()))
	diags.Append(state.Set(t.Context(), &model)...)
	if diags.HasError() {
		t.Fatal(diags)
	}
	for at, want := range map[string]string{
		"name": `"trade"`, "height": "9", "heights": `{"orderer0":8,"peer0.org1":9}`, "configuration": `"{}\n"`,
		"configuration_block": "4", "sequence": "2", "organizations": `["Org1MSP","Org2MSP"]`, "orderer_organizations": `["OrdererMSP"]`,
		"anchor_peers":   `{"Org1MSP":["peer0.org1.example.com:7051"]}`,
		"consensus_type": `"etcdraft"`, "consenters": `["orderer0.example.com:7050"]`,
		"policies": `{"/Channel/Application/Writers":"ANY Writers"}`, "acls": "{}",
		"capabilities": `{"application":["V2_5"],"channel":["V2_0"],"orderer":["V2_0"]}`,
	} {
		var got attr.Value
		if diags := state.GetAttribute(t.Context(), path.Root(at), &got); diags.HasError() {
			t.Fatal(diags)
		}
		if got.String() != want {
			t.Errorf("%s is %s, want %s", at, got, want)
		}
	}
}

func TestQueryResult(t *testing.T) {
	for _, c := range []struct {
		answer []byte
		text   types.String
		base64 string
	}{
		{[]byte("grün"), types.StringValue("grün"), "Z3LDvG4="},
		{nil, types.StringValue(""), ""},
		{[]byte{0xff, 0x00}, types.StringNull(), "/wA="},
	} {
		var m queryModel
		m.take(c.answer)
		if !m.Result.Equal(c.text) || m.ResultBase64.ValueString() != c.base64 {
			t.Errorf("%q gives %s and %s", c.answer, m.Result, m.ResultBase64)
		}
	}
}

func TestCredentialsSchema(t *testing.T) {
	e := newCredentialsEphemeral()
	metadata, resp := ephemeral.MetadataResponse{}, ephemeral.SchemaResponse{}
	e.Metadata(t.Context(), ephemeral.MetadataRequest{ProviderTypeName: "fabric"}, &metadata)
	e.Schema(t.Context(), ephemeral.SchemaRequest{}, &resp)
	if metadata.TypeName != "fabric_credentials" {
		t.Errorf("it is called %q", metadata.TypeName)
	}
	if diags := resp.Schema.ValidateImplementation(t.Context()); diags.HasError() {
		t.Error(diags)
	}
	for name, a := range resp.Schema.Attributes {
		if a.GetMarkdownDescription() == "" {
			t.Errorf("%s is not described", name)
		}
		if (name == "private_key") != a.IsSensitive() {
			t.Errorf("%s is sensitive: %v", name, a.IsSensitive())
		}
	}
}

// openCredentials opens the ephemeral resource for an identity.
func openCredentials(t *testing.T, s *session, identity network.Handle) ephemeral.OpenResponse {
	t.Helper()
	e := newCredentialsEphemeral()
	kind := ephemeral.SchemaResponse{}
	e.Schema(t.Context(), ephemeral.SchemaRequest{}, &kind)
	object := kind.Schema.Type().TerraformType(t.Context()).(tftypes.Object)
	values := map[string]tftypes.Value{}
	for name, of := range object.AttributeTypes {
		values[name] = tftypes.NewValue(of, nil)
	}
	given, err := handleValue(identity).ToTerraformValue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	values["identity"] = given
	raw := tftypes.NewValue(object, values)
	e.(ephemeral.EphemeralResourceWithConfigure).Configure(t.Context(), ephemeral.ConfigureRequest{ProviderData: s}, &ephemeral.ConfigureResponse{})
	resp := ephemeral.OpenResponse{Result: tfsdk.EphemeralResultData{Schema: kind.Schema, Raw: raw}}
	e.Open(t.Context(), ephemeral.OpenRequest{Config: tfsdk.Config{Schema: kind.Schema, Raw: raw}}, &resp)
	return resp
}

func TestCredentialsBeforeTheyAreMade(t *testing.T) {
	s, _ := fakeSession(t)
	resp := openCredentials(t, s, readHandle.With(network.KindIdentity, "app", "Org1MSP"))
	if len(resp.Diagnostics) != 1 || !resp.Diagnostics.HasError() || !strings.Contains(resp.Diagnostics[0].Detail(), "directory") {
		t.Errorf("the diagnostics are %v, want one that says where keys may be", resp.Diagnostics)
	}
}
