package provider

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// identityPart is one part of what names a resource to Terraform: a member of its resource identity and,
// in capitals, a part of its import ID.
type identityPart struct {
	name, description string
	// of reads it off the handle of the thing.
	of func(network.Handle) string
	// optional tells that an import can do without it.
	optional bool
}

var (
	ofNetwork = identityPart{name: "network", description: "Name of the network.", of: func(h network.Handle) string { return h.Network }}
	ofName    = identityPart{name: "name", description: "Its name.", of: func(h network.Handle) string { return h.Name }}
	ofMSPID   = identityPart{name: "msp_id", description: "MSP ID of the organization.", of: func(h network.Handle) string { return h.MSPID }}
	ofChannel = identityPart{name: "channel", description: "Name of the channel.", of: func(h network.Handle) string {
		channel, _, _ := strings.Cut(h.Name, "/")
		return channel
	}}
)

// inChannel is the name that a thing has in its channel, after which it is called CHANNEL/NAME.
func inChannel(name, description string) identityPart {
	return identityPart{name: name, description: description, of: func(h network.Handle) string {
		_, name, _ := strings.Cut(h.Name, "/")
		return name
	}}
}

// resourceIdentity is how one type of resource is named: by its import ID, by its resource identity
// (Terraform 1.12 and later), and where it is listed.
type resourceIdentity struct {
	parts []identityPart
	// handle gives the handle of the thing that a state is of.
	handle func(ctx context.Context, state tfsdk.State, diags *diag.Diagnostics) network.Handle
	// adopts tells that an import ID may name containers that something else made (adoptionID).
	adopts bool
}

// resourceIdentities are those of all resources that can be imported. A proposal, a signature and a
// submission are documents, which are nowhere on the engine: they cannot be.
var resourceIdentities = map[string]resourceIdentity{
	"fabric_network": {parts: []identityPart{
		{name: "name", description: "Name of the network.", of: func(h network.Handle) string { return h.Network }},
		{name: "owner_id", description: "Its `owner_id`. It is needed where several `fabric_network` share one network of the engine.", of: func(h network.Handle) string { return h.Owner }, optional: true},
	}, handle: ownHandle},
	"fabric_ca":                 {parts: []identityPart{ofNetwork, ofName}, handle: ownHandle},
	"fabric_organization":       {parts: []identityPart{ofNetwork, ofMSPID}, handle: ownHandle},
	"fabric_identity":           {parts: []identityPart{ofNetwork, ofMSPID, ofName}, handle: ownHandle},
	"fabric_crl":                {parts: []identityPart{ofNetwork, ofMSPID}, handle: handleAt("organization")},
	"fabric_peer":               {parts: []identityPart{ofNetwork, ofName}, handle: ownHandle, adopts: true},
	"fabric_orderer_cluster":    {parts: []identityPart{ofNetwork, ofName}, handle: ownHandle, adopts: true},
	"fabric_orderer":            {parts: []identityPart{ofNetwork, ofName}, handle: ownHandle},
	"fabric_channel":            {parts: []identityPart{ofNetwork, ofName}, handle: ownHandle},
	"fabric_channel_membership": {parts: []identityPart{ofNetwork, ofMSPID, ofChannel}, handle: ownHandle},
	"fabric_chaincode":          {parts: []identityPart{ofNetwork, ofChannel, inChannel("name", "Its name in the channel.")}, handle: ownHandle, adopts: true},
	"fabric_chaincode_approval": {parts: []identityPart{ofNetwork, ofMSPID, ofChannel, inChannel("name", "Name of the chaincode in the channel.")}, handle: ownHandle},
	"fabric_transaction":        {parts: []identityPart{ofNetwork, ofChannel, inChannel("transaction_id", "Its transaction ID.")}, handle: transactionHandle},
}

var ownHandle = handleAt("handle")

// handleAt reads the handle that an attribute holds.
func handleAt(attribute string) func(context.Context, tfsdk.State, *diag.Diagnostics) network.Handle {
	return func(ctx context.Context, state tfsdk.State, diags *diag.Diagnostics) network.Handle {
		var object types.Object
		diags.Append(state.GetAttribute(ctx, path.Root(attribute), &object)...)
		return handleFrom(ctx, object, diags)
	}
}

// transactionHandle names a transaction as a chaincode is named, by its channel and what it is in that.
func transactionHandle(ctx context.Context, state tfsdk.State, diags *diag.Diagnostics) network.Handle {
	h := handleAt("chaincode")(ctx, state, diags)
	var id types.String
	diags.Append(state.GetAttribute(ctx, path.Root("transaction_id"), &id)...)
	return h.With("transaction", ofChannel.of(h)+"/"+id.ValueString(), "")
}

// importID writes the import ID of a thing.
func (i resourceIdentity) importID(h network.Handle) string {
	values := make([]string, len(i.parts))
	for n, p := range i.parts {
		values[n] = p.of(h)
	}
	return strings.Join(values, "/")
}

// importBlocks writes import blocks to be pasted. A line that begins with a space is not wrapped by Terraform.
func importBlocks(things ...network.Handle) string {
	blocks := make([]string, len(things))
	for n, h := range things {
		resourceType := "fabric_" + string(h.Kind)
		name := importLabel.ReplaceAllString(h.Name, "_")
		if slices.Contains([]network.Kind{network.KindIdentity, network.KindChannelMembership, network.KindChaincodeApproval}, h.Kind) { // each organization has its own
			name = importLabel.ReplaceAllString(h.MSPID+"_"+h.Name, "_")
		}
		blocks[n] = fmt.Sprintf("  import {\n    to = %s.%s\n    id = %q\n  }", resourceType, name, resourceIdentities[resourceType].importID(h))
	}
	return strings.Join(blocks, "\n")
}

// importLabel is what a resource's name in a configuration may not hold.
var importLabel = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// check refuses an import ID of another form.
func (i resourceIdentity) check(id string) error {
	if i.adopts {
		var err error
		if id, _, err = adoptionID(id); err != nil {
			return err
		}
	}
	wants, least := make([]string, len(i.parts)), 0
	for n, p := range i.parts {
		wants[n] = strings.ToUpper(p.name)
		if !p.optional {
			least++
		}
	}
	parts := strings.Split(id, "/")
	if len(parts) < least || len(parts) > len(wants) || slices.Contains(parts, "") {
		form := strings.Join(wants[:least], "/")
		if least < len(wants) {
			form += " or " + strings.Join(wants, "/")
		}
		return fmt.Errorf("the import ID %q must be %s", id, form)
	}
	return nil
}

// asked reads a resource identity as the import ID that says the same.
func (i resourceIdentity) asked(ctx context.Context, identity tfsdk.ResourceIdentity, diags *diag.Diagnostics) string {
	var values []string
	for _, p := range i.parts {
		var value types.String
		diags.Append(identity.GetAttribute(ctx, path.Root(p.name), &value)...)
		switch text := value.ValueString(); {
		case strings.Contains(text, "/"), text == "" && !p.optional:
			diags.AddAttributeError(path.Root(p.name), "Not a resource identity", fmt.Sprintf("The %s %q names nothing.", p.name, text))
		case text != "":
			values = append(values, text)
		}
	}
	return strings.Join(values, "/")
}

// give writes the identity of a thing.
func (i resourceIdentity) give(ctx context.Context, h network.Handle, identity *tfsdk.ResourceIdentity, diags *diag.Diagnostics) {
	for _, p := range i.parts {
		diags.Append(identity.SetAttribute(ctx, path.Root(p.name), p.of(h))...)
	}
}

// importable is a resource that can be imported.
type importable interface {
	resource.ResourceWithConfigure
	resource.ResourceWithImportState
	fabric(diags *diag.Diagnostics) *network.Fabric
}

// identified serves a resource with its identity. Terraform wants to be told it whenever the resource was
// made, read, changed or imported; the resource itself only ever sees the import ID.
type identified struct {
	importable
	identity resourceIdentity
}

var (
	_ resource.ResourceWithIdentity       = identified{}
	_ resource.ResourceWithValidateConfig = identified{}
	_ resource.ResourceWithModifyPlan     = identified{}
)

// withIdentity gives the constructor of a resource that has its identity. What cannot be imported has none.
func withIdentity(ctx context.Context, create func() resource.Resource) func() resource.Resource {
	return func() resource.Resource {
		made := create()
		if r, ok := made.(importable); ok {
			return identified{importable: r, identity: resourceIdentities[typeName(ctx, made)]}
		}
		return made
	}
}

// typeName is the type of a resource.
func typeName(ctx context.Context, r resource.Resource) string {
	var named resource.MetadataResponse
	r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "fabric"}, &named)
	return named.TypeName
}

func (r identified) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema.Attributes = map[string]identityschema.Attribute{}
	for _, p := range r.identity.parts {
		resp.IdentitySchema.Attributes[p.name] = identityschema.StringAttribute{
			Description: p.description, RequiredForImport: !p.optional, OptionalForImport: p.optional,
		}
	}
}

// ValidateConfig and ModifyPlan are those of the resource, where it has them.
func (r identified) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	if validating, ok := r.importable.(resource.ResourceWithValidateConfig); ok {
		validating.ValidateConfig(ctx, req, resp)
	}
}

func (r identified) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if planning, ok := r.importable.(resource.ResourceWithModifyPlan); ok {
		planning.ModifyPlan(ctx, req, resp)
	}
}

func (r identified) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	r.importable.Create(ctx, req, resp)
	r.identify(ctx, resp.State, resp.Identity, &resp.Diagnostics)
}

func (r identified) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	r.importable.Read(ctx, req, resp)
	of := resp.State
	if of.Raw.IsNull() { // it is gone: what is gone has to be told as well, also to a Terraform that knows of no identities
		of = req.State
	}
	r.identify(ctx, of, resp.Identity, &resp.Diagnostics)
}

func (r identified) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.importable.Update(ctx, req, resp)
	r.identify(ctx, resp.State, resp.Identity, &resp.Diagnostics)
}

// ImportState takes an import ID or an identity.
func (r identified) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if req.ID == "" && req.Identity != nil && !req.Identity.Raw.IsNull() {
		req.ID = r.identity.asked(ctx, *req.Identity, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
	}
	req.ID = strings.TrimSpace(req.ID)
	if err := r.identity.check(req.ID); err != nil {
		addError(&resp.Diagnostics, "Unable to import", err)
		return
	}
	r.importable.ImportState(ctx, req, resp)
	r.identify(ctx, resp.State, resp.Identity, &resp.Diagnostics)
}

// identify tells the identity of what a state is of. A create that failed early leaves none.
func (r identified) identify(ctx context.Context, state tfsdk.State, identity *tfsdk.ResourceIdentity, diags *diag.Diagnostics) {
	if identity == nil || state.Raw.IsNull() {
		return
	}
	h := r.identity.handle(ctx, state, diags)
	for _, p := range r.identity.parts {
		if p.of(h) == "" {
			return
		}
	}
	r.identity.give(ctx, h, identity, diags)
}
