package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// statusLost is what status says of a node whose volume is gone.
const statusLost = "lost"

// statusRemoved is what it says of a node of which nothing is left, because a removal of it was cut short.
const statusRemoved = "removed"

// runModel is how nodes run: the part of a schema that a CA, a peer and an ordering cluster share.
type runModel struct {
	Image              types.String   `tfsdk:"image"`
	ImageID            types.String   `tfsdk:"image_id"`
	BindAddress        types.String   `tfsdk:"bind_address"`
	Log                types.Object   `tfsdk:"log"`
	Labels             types.Map      `tfsdk:"labels"`
	Limits             types.Object   `tfsdk:"limits"`
	DesiredState       types.String   `tfsdk:"desired_state"`
	DeletionProtection types.Bool     `tfsdk:"deletion_protection"`
	OnDestroy          types.String   `tfsdk:"on_destroy"`
	AcceptDataLoss     types.Bool     `tfsdk:"accept_data_loss"`
	Status             types.String   `tfsdk:"status"`
	Handle             types.Object   `tfsdk:"handle"`
	Timeouts           timeouts.Value `tfsdk:"timeouts"`
}

type logModel struct {
	Driver  types.String `tfsdk:"driver"`
	Options types.Map    `tfsdk:"options"`
}

type limitsModel struct {
	MemoryMiB types.Int64   `tfsdk:"memory_mib"`
	PIDs      types.Int64   `tfsdk:"pids"`
	CPUs      types.Float64 `tfsdk:"cpus"`
}

var (
	logTypes    = map[string]attr.Type{"driver": types.StringType, "options": types.MapType{ElemType: types.StringType}}
	limitsTypes = map[string]attr.Type{"memory_mib": types.Int64Type, "pids": types.Int64Type, "cpus": types.Float64Type}
)

// runAttributes is the schema of runModel. What names the node in descriptions, holds what is lost
// with its volume.
func runAttributes(ctx context.Context, what, holds, defaultImage string) map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"image": schema.StringAttribute{
			Optional: true, Computed: true,
			MarkdownDescription: "Image, by tag or digest. Defaults to `" + defaultImage + "`. Changing it replaces the container and keeps its volume.",
			Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
		},
		"image_id": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "The content that `image` was resolved to (`sha256:…`). It is kept until `image` changes, also when a tag moves on.",
		},
		"bind_address": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString("127.0.0.1"),
			MarkdownDescription: "Address of the engine's host on which ports are published. Defaults to `127.0.0.1`, which only the host itself can reach.",
			Validators:          []validator.String{ipAddress},
		},
		"log": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "Where the output of the " + what + " goes. Defaults to the engine's own log driver.",
			Attributes: map[string]schema.Attribute{
				"driver": schema.StringAttribute{
					Required:            true,
					MarkdownDescription: "Log driver of the engine, for example `json-file` or `journald`.",
					Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				},
				"options": schema.MapAttribute{
					Optional: true, ElementType: types.StringType,
					MarkdownDescription: "Options of the log driver, for example `max-size`.",
				},
			},
		},
		"labels": schema.MapAttribute{
			Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Further labels of the container. Names that begin with `" + engine.LabelPrefix + "` are the provider's.",
			Validators:          []validator.Map{userLabels{}},
		},
		"limits": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "Limits of the container. What is not set is not limited.",
			Attributes: map[string]schema.Attribute{
				"memory_mib": schema.Int64Attribute{
					Optional:            true,
					MarkdownDescription: "Memory in MiB.",
					Validators:          []validator.Int64{int64validator.AtLeast(16)},
				},
				"pids": schema.Int64Attribute{
					Optional:            true,
					MarkdownDescription: "Number of processes and threads.",
					Validators:          []validator.Int64{int64validator.AtLeast(16)},
				},
				"cpus": schema.Float64Attribute{
					Optional:            true,
					MarkdownDescription: "Number of processors, for example `0.5`.",
					Validators:          []validator.Float64{float64validator.AtLeast(0.01)},
				},
			},
		},
		"desired_state": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString("running"),
			MarkdownDescription: "`running` (default) or `stopped`. A stopped " + what + " keeps its container and its volume.",
			Validators:          []validator.String{stringvalidator.OneOf("running", "stopped")},
		},
		"deletion_protection": schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(true),
			MarkdownDescription: "Refuse to destroy or replace the " + what + " once there is " + holds + " to lose. Defaults to `true`.",
		},
		"on_destroy": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString("delete"),
			MarkdownDescription: "What becomes of the volumes when the " + what + " is destroyed: `delete` (default) or `keep`. Volumes that were kept are taken up again by a " + what + " of the same name on the same network.",
			Validators:          []validator.String{stringvalidator.OneOf("delete", "keep")},
		},
		"accept_data_loss": schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(false),
			MarkdownDescription: "When the volume of the " + what + " is gone, start with an empty one instead of failing. Defaults to `false`.",
		},
		"status": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "What the engine says: `running`, `unhealthy` when it runs but fails its health check for 10 seconds, `detached` when it runs but was taken off the network, `altered` when somebody changed its limits, its restart policy, its name on the network or the configuration on its volume, `stopped` (or paused), `absent` when the container is gone, `lost` when the volume is, `removed` when both are because a removal was cut short. The next apply repairs what differs from `desired_state`; it starts an unhealthy one again.",
		},
		"handle":   handleOutput(what),
		"timeouts": operationTimeouts(ctx),
	}
}

// addToDescription adds a sentence to the description of an attribute.
func addToDescription(attributes map[string]schema.Attribute, name, more string) {
	switch a := attributes[name].(type) {
	case schema.StringAttribute:
		a.MarkdownDescription += " " + more
		attributes[name] = a
	case schema.BoolAttribute:
		a.MarkdownDescription += " " + more
		attributes[name] = a
	}
}

// addressAttributes are those of one single node.
func addressAttributes(what string, port int) map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"advertised_address": schema.StringAttribute{
			Optional:            true,
			MarkdownDescription: fmt.Sprintf("Address (`host:port`) by which others reach the %s, when it is not its own name and port %d on the network. It is added to the certificate.", what, port),
			Validators:          []validator.String{hostPort},
		},
		"sans": schema.ListAttribute{
			Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Further host names and IP addresses for the TLS certificate, beside the name of the " + what + ", `localhost` and `127.0.0.1`.",
			Validators:          []validator.List{listvalidator.UniqueValues(), listvalidator.ValueStringsAre(hostName)},
		},
	}
}

// portAttribute is a published port.
func portAttribute(what string) schema.Int64Attribute {
	return schema.Int64Attribute{
		Optional: true, Computed: true,
		MarkdownDescription: "Host port of the " + what + ". A free one is chosen, and kept, when none is given.",
		Validators:          []validator.Int64{int64validator.Between(1, 65535)},
		PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseNonNullStateForUnknown()},
	}
}

// nameAttribute is the name of a node on its network.
func nameAttribute(what, example string) schema.StringAttribute {
	return schema.StringAttribute{
		Required:            true,
		MarkdownDescription: "Name on the network, for example `" + example + "`; with the domain of the network behind it, it is the host name of the " + what + ". Changing it replaces the " + what + ".",
		Validators:          []validator.String{nodeName},
		PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
	}
}

func merge(parts ...map[string]schema.Attribute) map[string]schema.Attribute {
	out := map[string]schema.Attribute{}
	for _, part := range parts {
		maps.Copy(out, part)
	}
	return out
}

// options reads how the nodes are to run.
func (m *runModel) options(ctx context.Context, diags *diag.Diagnostics) network.NodeOptions {
	o := network.NodeOptions{
		Image: m.Image.ValueString(), ImageID: m.ImageID.ValueString(), BindAddress: m.BindAddress.ValueString(),
		Stopped: m.DesiredState.ValueString() == "stopped", AcceptDataLoss: m.AcceptDataLoss.ValueBool(),
	}
	if !m.Log.IsNull() && !m.Log.IsUnknown() {
		var l logModel
		diags.Append(m.Log.As(ctx, &l, basetypes.ObjectAsOptions{})...)
		o.Log = engine.Log{Driver: l.Driver.ValueString(), Options: stringMap(ctx, l.Options, diags)}
	}
	o.Labels = stringMap(ctx, m.Labels, diags)
	if !m.Limits.IsNull() && !m.Limits.IsUnknown() {
		var l limitsModel
		diags.Append(m.Limits.As(ctx, &l, basetypes.ObjectAsOptions{})...)
		o.Limits = engine.Limits{MemoryBytes: l.MemoryMiB.ValueInt64() << 20, PIDs: l.PIDs.ValueInt64(), CPUs: l.CPUs.ValueFloat64()}
	}
	return o
}

// take writes what import found back into the model.
func (m *runModel) take(ctx context.Context, o network.NodeOptions, diags *diag.Diagnostics) {
	m.Image, m.BindAddress = types.StringValue(o.Image), types.StringValue(o.BindAddress)
	m.Log, m.Limits, m.Labels = types.ObjectNull(logTypes), types.ObjectNull(limitsTypes), mapOf(ctx, o.Labels, diags)
	if o.Log.Driver != "" {
		m.Log = types.ObjectValueMust(logTypes, map[string]attr.Value{
			"driver": types.StringValue(o.Log.Driver), "options": mapOf(ctx, o.Log.Options, diags),
		})
	}
	if o.Limits != (engine.Limits{}) {
		l := map[string]attr.Value{"memory_mib": types.Int64Null(), "pids": types.Int64Null(), "cpus": types.Float64Null()}
		if o.Limits.MemoryBytes != 0 {
			l["memory_mib"] = types.Int64Value(o.Limits.MemoryBytes >> 20)
		}
		if o.Limits.PIDs != 0 {
			l["pids"] = types.Int64Value(o.Limits.PIDs)
		}
		if o.Limits.CPUs != 0 {
			l["cpus"] = types.Float64Value(o.Limits.CPUs)
		}
		m.Limits = types.ObjectValueMust(limitsTypes, l)
	}
	m.DesiredState = types.StringValue("running")
	if o.Stopped {
		m.DesiredState = types.StringValue("stopped")
	}
	m.DeletionProtection, m.OnDestroy, m.AcceptDataLoss = types.BoolValue(true), types.StringValue("delete"), types.BoolValue(false)
}

// plan computes what an apply will make of the image and the state. Prior is nil on create;
// configured is what the configuration itself says.
func (m *runModel) plan(prior, configured *runModel, defaultImage types.String, diags *diag.Diagnostics) {
	if configured.Image.IsNull() {
		m.Image = defaultImage
	}
	m.ImageID = types.StringUnknown()
	m.Status = m.DesiredState
	if prior == nil {
		return
	}
	if m.Image.Equal(prior.Image) && !prior.ImageID.IsNull() {
		m.ImageID = prior.ImageID
	}
	if prior.Status.ValueString() == statusLost && !m.AcceptDataLoss.IsUnknown() && !m.AcceptDataLoss.ValueBool() {
		diags.AddAttributeError(path.Root("accept_data_loss"), "The volume is gone",
			"A volume of this resource is gone from the engine, and what it held with it. Restore it under its name, or set accept_data_loss = true: an apply then begins with an empty one, and a destroy goes on without it. To forget the resource instead: terraform state rm ADDRESS.")
	}
}

// forgetLostImage has the image resolved again by its reference, when its container is gone and the
// content that it ran is gone from the engine too.
func (m *runModel) forgetLostImage(ctx context.Context, f *network.Fabric, status types.String, diags *diag.Diagnostics) {
	if status.ValueString() != string(engine.Absent) || m.ImageID.IsNull() {
		return
	}
	has, err := f.HasImage(ctx, m.ImageID.ValueString())
	if err != nil {
		addError(diags, "Unable to look for image "+m.Image.ValueString(), err)
		return
	}
	if !has {
		m.ImageID = types.StringNull()
	}
}

// nullable writes a text, null when it is empty.
func nullable(text string) types.String {
	if text == "" {
		return types.StringNull()
	}
	return types.StringValue(text)
}

// protectedKey is the private state entry that tells that there is something to lose.
const protectedKey = "protected"

// protect refuses the destruction of what is protected.
func (m *runModel) protect(ctx context.Context, private privateState, what, holds string, diags *diag.Diagnostics) {
	raw, d := private.GetKey(ctx, protectedKey)
	diags.Append(d...)
	if m.DeletionProtection.ValueBool() && len(raw) > 0 {
		m.refuseDeletion(what, holds, diags)
	}
}

func (m *runModel) refuseDeletion(what, holds string, diags *diag.Diagnostics) {
	diags.AddAttributeError(path.Root("deletion_protection"), "Protected from deletion",
		fmt.Sprintf("Destroying or replacing this %s would lose %s. Apply deletion_protection = false first if that is meant.", what, holds))
}

// beginProtection records that there is something to lose from now on.
func beginProtection(ctx context.Context, private privateStateWriter, diags *diag.Diagnostics) {
	diags.Append(private.SetKey(ctx, protectedKey, []byte("true"))...)
}

// setProtection follows what the nodes say of their ledgers: protection begins with the first block
// and ends when it is known that there is none. What cannot be known changes nothing.
func setProtection(ctx context.Context, private privateStateWriter, ledgers []network.Ledger, diags *diag.Diagnostics) {
	none := true
	for _, l := range ledgers {
		if l == network.LedgerHeld {
			beginProtection(ctx, private, diags)
			return
		}
		none = none && l == network.LedgerNone
	}
	if none {
		diags.Append(private.SetKey(ctx, protectedKey, nil)...)
	}
}

// protectLedger is protect at the last moment, when a ledger may have come since the state was read.
func (m *runModel) protectLedger(ctx context.Context, private privateState, what, holds string, held func() (bool, error), diags *diag.Diagnostics) {
	m.protect(ctx, private, what, holds, diags)
	if diags.HasError() || !m.DeletionProtection.ValueBool() {
		return
	}
	yes, err := held()
	if err != nil {
		addError(diags, "Unable to tell whether the "+what+" holds "+holds, err)
	} else if yes {
		m.refuseDeletion(what, holds, diags)
	}
}

// statusOf is what status says of a node.
func statusOf(s network.NodeState) types.String {
	switch {
	case s.Lost:
		return types.StringValue(statusLost)
	case s.Removed:
		return types.StringValue(statusRemoved)
	}
	return types.StringValue(string(s.Status))
}

func (m *runModel) keepVolumes() bool { return m.OnDestroy.ValueString() == "keep" }

// addNodeError reports why a node could not be made, on the attribute where it can be mended. At
// tells where a host port is set.
func addNodeError(diags *diag.Diagnostics, summary string, err error, at map[int]path.Path) {
	port := new(engine.PortError)
	switch {
	case errors.As(err, &port) && at[port.Port].String() != "":
		diags.AddAttributeError(at[port.Port], summary, explain(err))
	case errors.Is(err, engine.ErrNoImage):
		diags.AddAttributeError(path.Root("image"), summary, explain(err))
	case errors.Is(err, network.ErrLost):
		diags.AddAttributeError(path.Root("accept_data_loss"), summary, explain(err))
	case errors.As(err, new(*network.ReleaseError)):
		diags.AddAttributeError(path.Root("fabric_version"), summary, explain(err))
	case errors.Is(err, network.ErrExists), errors.Is(err, engine.ErrForeign):
		diags.AddAttributeError(path.Root("name"), summary, explain(err))
	default:
		addError(diags, summary, err)
	}
}

// userLabels refuses labels of ours.
type userLabels struct{}

func (userLabels) Description(context.Context) string {
	return "no label that begins with " + engine.LabelPrefix
}
func (v userLabels) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (userLabels) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for name := range req.ConfigValue.Elements() {
		if strings.HasPrefix(name, engine.LabelPrefix) {
			resp.Diagnostics.AddAttributeError(req.Path.AtMapKey(name), "Reserved label",
				"Labels that begin with "+engine.LabelPrefix+" are the provider's. Choose another name.")
		}
	}
}

// stringMap reads a map of strings; null gives nil.
func stringMap(ctx context.Context, m types.Map, diags *diag.Diagnostics) map[string]string {
	if m.IsNull() || m.IsUnknown() {
		return nil
	}
	out := map[string]string{}
	diags.Append(m.ElementsAs(ctx, &out, false)...)
	return out
}

// mapOf writes a map of strings; an empty one is null.
func mapOf(ctx context.Context, m map[string]string, diags *diag.Diagnostics) types.Map {
	if len(m) == 0 {
		return types.MapNull(types.StringType)
	}
	value, d := types.MapValueFrom(ctx, types.StringType, m)
	diags.Append(d...)
	return value
}

// stringList reads a list of strings; null gives nil.
func stringList(ctx context.Context, l types.List, diags *diag.Diagnostics) []string {
	if l.IsNull() || l.IsUnknown() {
		return nil
	}
	var out []string
	diags.Append(l.ElementsAs(ctx, &out, false)...)
	return out
}

// listOf writes a list of strings; an empty one is null.
func listOf(ctx context.Context, l []string, diags *diag.Diagnostics) types.List {
	if len(l) == 0 {
		return types.ListNull(types.StringType)
	}
	value, d := types.ListValueFrom(ctx, types.StringType, l)
	diags.Append(d...)
	return value
}

// portOf writes a host port, null when there is none.
func portOf(ports map[string]int, purpose string) types.Int64 {
	if ports[purpose] == 0 {
		return types.Int64Null()
	}
	return types.Int64Value(int64(ports[purpose]))
}

// planEndpoint computes the address by which others reach a node.
func planEndpoint(advertised types.String, handle types.Object, port int) types.String {
	if !advertised.IsNull() {
		return advertised
	}
	name, domain := handleMember(handle, "name"), handleMember(handle, "domain")
	if name.IsUnknown() || domain.IsUnknown() {
		return types.StringUnknown()
	}
	h := network.Handle{Name: name.ValueString(), Domain: domain.ValueString()}
	return types.StringValue(network.NodeOptions{}.Endpoint(h, port))
}

// changed compares values in pairs, prior and planned: a change of any of them replaces the
// resource, which a plan modifier cannot tell ModifyPlan.
func changed(pairs ...attr.Value) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		if !pairs[i].Equal(pairs[i+1]) {
			return true
		}
	}
	return false
}
