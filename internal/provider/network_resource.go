package provider

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type networkResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &networkResource{}
	_ resource.ResourceWithImportState = &networkResource{}
	_ resource.ResourceWithModifyPlan  = &networkResource{}
)

func newNetworkResource() resource.Resource { return &networkResource{} }

// networkModel is a fabric_network.
type networkModel struct {
	Name     types.String   `tfsdk:"name"`
	Domain   types.String   `tfsdk:"domain"`
	Existing types.Bool     `tfsdk:"existing"`
	OwnerID  types.String   `tfsdk:"owner_id"`
	Status   types.String   `tfsdk:"status"`
	Handle   types.Object   `tfsdk:"handle"`
	Timeouts timeouts.Value `tfsdk:"timeouts"`
}

func (r *networkResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_network"
}

func (r *networkResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A network on the engine, and the naming domain of the Fabric nodes on it. Everything that belongs to a Fabric network carries its `owner_id`.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name of the network on the engine, and first part of the name of every container and volume on it. Changing it replaces the network, because the engine cannot rename one.",
				Validators:          []validator.String{objectName},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"domain": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(""),
				MarkdownDescription: "Domain of the nodes: a peer named `peer0.org1` in the domain `example.com` is reached as `peer0.org1.example.com`. Without it, nodes are reached by their names. Changing it replaces the network, because certificates hold the names of the nodes.",
				Validators:          []validator.String{domainName},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"existing": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Use a network of that name that somebody else made, another `fabric_network` for example, and never change or remove it. Defaults to `false`. Changing it replaces the network.",
				PlanModifiers:       []planmodifier.Bool{boolplanmodifier.RequiresReplace()},
			},
			"owner_id": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Identity of the owner, on the labels of every engine object of this network. Generated; set it only to take back a network whose state was lost: the apply that creates this resource then takes up the containers and volumes that are there, instead of refusing their names.",
				Validators:          []validator.String{objectName},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown(), stringplanmodifier.RequiresReplaceIfConfigured()},
			},
			"status": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "`running` when the network is on the engine. A network that was removed shows here as a change and is made again by the next apply.",
			},
			"handle":   handleOutput("network"),
			"timeouts": operationTimeouts(ctx),
		},
	}
}

// ModifyPlan computes what is known of the network before it is made.
func (r *networkResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan networkModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Status = types.StringValue(string(engine.Running))
	plan.Handle = plan.handle()
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	var state networkModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
		if changed(state.Domain, plan.Domain, state.Existing, plan.Existing) || !plan.OwnerID.IsUnknown() && changed(state.OwnerID, plan.OwnerID) {
			return
		}
	}
	r.session.claims.name(ctx, network.KindNetwork, plan.Handle, plan.Name, path.Root("name"), req, &resp.Diagnostics)
}

// handle is known but for what is not known yet.
func (m *networkModel) handle() types.Object {
	return types.ObjectValueMust(handleTypes, map[string]attr.Value{
		"kind": types.StringValue(string(network.KindNetwork)), "network": m.Name, "domain": m.Domain,
		"owner_id": m.OwnerID, "name": m.Name, "msp_id": types.StringValue(""),
	})
}

func (m *networkModel) known() network.Handle {
	return network.Handle{
		Kind: network.KindNetwork, Network: m.Name.ValueString(), Domain: m.Domain.ValueString(),
		Owner: m.OwnerID.ValueString(), Name: m.Name.ValueString(),
	}
}

func (r *networkResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan networkModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	if plan.OwnerID.IsUnknown() {
		plan.OwnerID = types.StringValue(newOwnerID())
		plan.Handle = plan.handle()
	} else {
		f.Adopt(plan.OwnerID.ValueString())
	}
	existing := plan.Existing.ValueBool()
	if err := f.PreflightNetwork(ctx, plan.known(), existing); err != nil {
		resp.Diagnostics.AddError("Unable to create network "+plan.Name.ValueString(), explain(err)+takeBack(ctx, f, plan.known(), err))
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	if err := f.EnsureNetwork(ctx, plan.known(), existing); err != nil {
		addError(&resp.Diagnostics, "Unable to create network "+plan.Name.ValueString(), err)
		if errors.Is(err, engine.ErrForeign) { // somebody was quicker: nothing of ours was made
			resp.State.RemoveResource(ctx)
		}
	}
}

// takeBack says how a network of another owner is taken back, if it was ours and its state was lost.
func takeBack(ctx context.Context, f *network.Fabric, h network.Handle, err error) string {
	foreign := new(engine.ForeignError)
	if !errors.As(err, &foreign) || foreign.Owner == "" {
		return ""
	}
	found, err := f.ListAll(ctx, network.Filter{Network: h.Network, Owner: foreign.Owner})
	if err != nil || len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("\n\nWith owner_id = %q in this fabric_network, an apply takes up what is there, as this configuration says. "+
		"Or import all of it: paste these blocks, each with the address that its resource has in this configuration.\n\n%s", foreign.Owner, importBlocks(found...))
}

func newOwnerID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

func (r *networkResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state networkModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadNetwork(ctx, state.known(), state.Existing.ValueBool())
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read network "+state.Name.ValueString(), err)
		return
	}
	state.Status = types.StringValue(string(found.Status))
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// Update makes a network again that was removed; nothing else of it can change in place.
func (r *networkResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan networkModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.EnsureNetwork(ctx, plan.known(), plan.Existing.ValueBool()); err != nil {
		addError(&resp.Diagnostics, "Unable to update network "+plan.Name.ValueString(), err)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *networkResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state networkModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, state.Timeouts.Delete, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.DeleteNetwork(ctx, state.known(), state.Existing.ValueBool()); err != nil {
		addError(&resp.Diagnostics, "Unable to delete network "+state.Name.ValueString(), err)
	}
}

// ImportState takes NAME, or NAME/OWNER_ID where several fabric_network share one network of the engine.
func (r *networkResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &networkModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		owner := ""
		if len(parts) > 1 {
			owner = parts[1]
		}
		found, err := f.FindNetwork(ctx, parts[0], owner)
		if err != nil {
			return err
		}
		m.Name, m.Domain, m.OwnerID = types.StringValue(parts[0]), types.StringValue(found.Handle.Domain), types.StringValue(found.Handle.Owner)
		m.Existing, m.Handle, m.Timeouts = types.BoolValue(found.Existing), handleValue(found.Handle), noTimeouts()
		m.Status = types.StringValue(string(found.Status))
		return nil
	})
}
