package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// The state databases of a peer, and the CouchDB that is run when no image is named.
const (
	goleveldb    = "goleveldb"
	couchDB      = "couchdb"
	couchVersion = "3.4.2"
)

var stateDatabaseTypes = map[string]attr.Type{
	"type": types.StringType, "image": types.StringType, "image_id": types.StringType, "limits": types.ObjectType{AttrTypes: limitsTypes},
}

// stateDatabaseAttribute is state_database of a peer. What it lacks is computed in planStateDatabase.
func stateDatabaseAttribute(ctx context.Context) schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, Computed: true,
		MarkdownDescription: "Where the peer keeps the state of its ledgers. With `type = \"couchdb\"` a CouchDB runs beside it, in a container and on a volume of its own, and chaincode can query JSON. " +
			"It is started before the peer, stopped, repaired and removed with it, and part of its `status`. Only the peer speaks with it: it publishes no port, and its password is generated and lives in the organization's key volume. " +
			"Fabric speaks with CouchDB without TLS, so both must be on a network that nobody else listens on.",
		Validators: []validator.Object{couchOnly{}},
		Attributes: map[string]schema.Attribute{
			"type": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "`goleveldb` (default), which is part of the peer, or `couchdb`. Changing it replaces the peer.",
				Validators:          []validator.String{stringvalidator.OneOf(goleveldb, couchDB)},
			},
			"image": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Image of CouchDB 3.1 or later, by tag or digest, laid out like the official one. Defaults to `couchdb:" + couchVersion + "`. Changing it replaces the container and keeps its volume.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"image_id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The content that `image` was resolved to (`sha256:…`). It is kept until `image` changes.",
			},
			"limits": runAttributes(ctx, "database", "", "")["limits"],
		},
	}
}

// couchOnly refuses what has no meaning without a CouchDB.
type couchOnly struct{}

func (couchOnly) Description(context.Context) string {
	return "image and limits go with type " + couchDB
}
func (v couchOnly) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (couchOnly) ValidateObject(_ context.Context, req validator.ObjectRequest, resp *validator.ObjectResponse) {
	if stateDatabaseKind(req.ConfigValue).ValueString() != goleveldb {
		return
	}
	for _, name := range []string{"image", "limits"} {
		if value := req.ConfigValue.Attributes()[name]; value != nil && !value.IsNull() {
			// Terraform shows where an attribute is, but not where a member of it is.
			resp.Diagnostics.AddAttributeError(req.Path, "No state database to apply it to", fmt.Sprintf(
				"%s would have no effect: %s is a part of the peer. Remove it, or set type = %q.", req.Path.AtName(name), goleveldb, couchDB))
		}
	}
}

// stateDatabaseKind gives the type of a state database, goleveldb where nothing is said.
func stateDatabaseKind(database types.Object) types.String {
	if database.IsUnknown() {
		return types.StringUnknown()
	}
	if kind, ok := database.Attributes()["type"].(types.String); ok && !kind.IsNull() {
		return kind
	}
	return types.StringValue(goleveldb)
}

// planStateDatabase computes the members that the configuration leaves out.
func planStateDatabase(prior, config types.Object, defaultImage types.String) types.Object {
	if config.IsUnknown() {
		return types.ObjectUnknown(stateDatabaseTypes)
	}
	kind := stateDatabaseKind(config)
	out := map[string]attr.Value{
		"type": kind, "image": types.StringNull(), "image_id": types.StringNull(), "limits": types.ObjectNull(limitsTypes),
	}
	if kind.ValueString() == goleveldb {
		return types.ObjectValueMust(stateDatabaseTypes, out)
	}
	configured := config.Attributes()
	out["image"], out["image_id"], out["limits"] = configured["image"], types.StringUnknown(), configured["limits"]
	if out["image"].IsNull() {
		if out["image"] = defaultImage; kind.IsUnknown() {
			out["image"] = types.StringUnknown()
		}
	}
	before := prior.Attributes()
	if id := before["image_id"]; id != nil && !id.IsNull() && out["image"].Equal(before["image"]) && !kind.IsUnknown() {
		out["image_id"] = id
	}
	return types.ObjectValueMust(stateDatabaseTypes, out)
}

// stateDatabase gives the database that runs beside the peer as a node that runs, nil with goleveldb.
func (m *peerModel) stateDatabase() *runModel {
	if stateDatabaseKind(m.StateDatabase).ValueString() != couchDB {
		return nil
	}
	members := m.StateDatabase.Attributes()
	run := &runModel{}
	run.Image, _ = members["image"].(types.String)
	run.ImageID, _ = members["image_id"].(types.String)
	run.Limits, _ = members["limits"].(types.Object)
	return run
}

// stateDatabaseSpec reads what is to run beside the peer.
func (m *peerModel) stateDatabaseSpec(ctx context.Context, diags *diag.Diagnostics) *network.StateDatabase {
	run := m.stateDatabase()
	if run == nil {
		return nil
	}
	o := run.options(ctx, diags)
	return &network.StateDatabase{Image: o.Image, ImageID: o.ImageID, Limits: o.Limits}
}

// takeStateDatabase writes what import found back into the model.
func (m *peerModel) takeStateDatabase(ctx context.Context, found *network.StateDatabase, diags *diag.Diagnostics) {
	m.StateDatabase = planStateDatabase(types.ObjectNull(stateDatabaseTypes), types.ObjectNull(stateDatabaseTypes), types.StringNull())
	if found == nil {
		return
	}
	run := &runModel{}
	run.take(ctx, network.NodeOptions{Image: found.Image, Limits: found.Limits}, diags)
	m.StateDatabase = types.ObjectValueMust(stateDatabaseTypes, map[string]attr.Value{
		"type": types.StringValue(couchDB), "image": run.Image, "image_id": nullable(found.ImageID), "limits": run.Limits,
	})
}

func (m *peerModel) setStateDatabaseImage(id types.String) {
	members := maps.Clone(m.StateDatabase.Attributes())
	members["image_id"] = id
	m.StateDatabase = types.ObjectValueMust(stateDatabaseTypes, members)
}

// readStateDatabase reads the database beside the peer into what was found of the peer.
func (m *peerModel) readStateDatabase(ctx context.Context, f *network.Fabric, h network.Handle, found *network.MemberState, diags *diag.Diagnostics) {
	run := m.stateDatabase()
	if run == nil {
		return
	}
	if err := f.ReadStateDatabase(ctx, h, found); err != nil {
		addError(diags, "Unable to read the state database of peer "+m.Name.ValueString(), err)
		return
	}
	run.forgetLostImage(ctx, f, statusOf(*found.StateDatabase), diags)
	m.setStateDatabaseImage(run.ImageID)
}

// addNodeError reports why the peer or its database could not be made, on the attribute where it can
// be mended.
func (m *peerModel) addNodeError(diags *diag.Diagnostics, summary string, err error) {
	run, image := m.stateDatabase(), new(engine.ImageError)
	if run != nil && errors.As(err, &image) && image.Reference == run.Image.ValueString() {
		diags.AddAttributeError(path.Root("state_database"), summary, explain(err))
		return
	}
	for attribute, kind := range map[string]any{
		"max_unavailable": new(*network.UnavailableError), "fabric_version": new(*network.OlderOrdererError), "accept_data_loss": new(*network.LastHolderError),
	} {
		if errors.As(err, kind) {
			diags.AddAttributeError(path.Root(attribute), summary, explain(err))
			return
		}
	}
	addNodeError(diags, summary, err, portPaths(m.wantedPorts()))
}
