package provider

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/mapplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type backupResource struct{ configured }

var _ resource.ResourceWithConfigure = &backupResource{}

func newBackupResource() resource.Resource { return &backupResource{} }

// shortestPassphrase is how many characters the passphrase of an archive has at least.
const shortestPassphrase = 12

// backupModel is a fabric_backup.
type backupModel struct {
	Network        types.Object   `tfsdk:"network"`
	Path           types.String   `tfsdk:"path"`
	PassphraseWO   types.String   `tfsdk:"passphrase_wo"`
	MaxUnavailable types.Int64    `tfsdk:"max_unavailable"`
	Triggers       types.Map      `tfsdk:"triggers"`
	TakenAt        types.String   `tfsdk:"taken_at"`
	SHA256         types.String   `tfsdk:"sha256"`
	ManifestSHA256 types.String   `tfsdk:"manifest_sha256"`
	SizeBytes      types.Int64    `tfsdk:"size_bytes"`
	Heights        types.Map      `tfsdk:"heights"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`
}

func (r *backupResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_backup"
}

func (r *backupResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_network`.", network.KindNetwork)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{
			Computed: true, MarkdownDescription: description,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A backup: one archive of everything that a `fabric_network` has on the engine, its keys, CA databases and ledgers. It is taken once, and again when one of its `triggers` changes. " +
			"`restore_from` of `fabric_network` makes the network from it again, on this engine or another one.\n\n" +
			"CAs and peers stand still one after the other while they are read, peers within `max_unavailable`, then one node of each ordering cluster that the others can spare; each is started again before the next one is stopped. " +
			"An archive that does not come to its end leaves the one of before at `path`, and no node stopped; what an apply that was killed left stopped, the next one starts.\n\n" +
			"It holds private keys, and is encrypted with the passphrase in the format of [age](https://age-encryption.org). Destroying the resource leaves the archive where it is. Name in `depends_on` what has to be there first. Terraform from 1.14 on takes a backup with the [action](../actions/backup.md) of the same name, too.",
		Attributes: map[string]schema.Attribute{
			"network": of,
			"path": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Path of the archive, a local file in a folder that is there. An archive of before is replaced when the new one is whole. Changing it takes another backup.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"passphrase_wo": schema.StringAttribute{
				Required: true, WriteOnly: true, Sensitive: true,
				MarkdownDescription: "Passphrase that the archive is encrypted with, 12 characters or more. Whoever has it and the archive has every key of the network; without it, the archive is worth nothing. Write-only: another one is used for the next backup that is taken, so change `triggers` with it.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(shortestPassphrase)},
			},
			"max_unavailable": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(1),
				MarkdownDescription: "How many peers of an organization may be down at a time, the one that is read included. Defaults to 1.",
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
			},
			"triggers": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Values of your choice; a change of any takes the backup again.",
				PlanModifiers:       []planmodifier.Map{mapplanmodifier.RequiresReplace()},
			},
			"taken_at":        computed("When it was taken, in RFC 3339."),
			"sha256":          computed("SHA-256 of the archive, in hexadecimal."),
			"manifest_sha256": computed("SHA-256 of the manifest in it, which names each file with its digest, in hexadecimal."),
			"size_bytes": schema.Int64Attribute{
				Computed: true, MarkdownDescription: "Size of the archive in bytes.",
				PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"heights": schema.MapAttribute{
				Computed: true, ElementType: types.Int64Type,
				MarkdownDescription: "Number of blocks of each channel that it holds, or more that came while it was taken.",
				PlanModifiers:       []planmodifier.Map{mapplanmodifier.UseStateForUnknown()},
			},
			"timeouts": operationTimeouts(ctx),
		},
	}
}

func (r *backupResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan, config backupModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	spec := network.BackupSpec{
		Handle: handleFrom(ctx, plan.Network, &resp.Diagnostics), Path: plan.Path.ValueString(),
		Passphrase: config.PassphraseWO.ValueString(), MaxUnavailable: int(plan.MaxUnavailable.ValueInt64()),
	}
	if resp.Diagnostics.HasError() {
		return
	}
	result, taken := takeBackup(ctx, f, spec, &resp.Diagnostics)
	if !taken {
		return
	}
	plan.take(ctx, result, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// takeBackup takes a backup, and says what is not in it.
func takeBackup(ctx context.Context, f *network.Fabric, spec network.BackupSpec, diags *diag.Diagnostics) (result network.BackupResult, taken bool) {
	result, err := f.Backup(ctx, spec)
	if err != nil {
		addError(diags, "Unable to back up network "+spec.Handle.Network, err)
		return result, false
	}
	if len(result.LeftOut) > 0 {
		diags.AddAttributeWarning(path.Root("network"), "Ordering nodes are not in the backup", strings.Join(result.LeftOut, "\n"))
	}
	return result, true
}

func (m *backupModel) take(ctx context.Context, result network.BackupResult, diags *diag.Diagnostics) {
	m.TakenAt = types.StringValue(result.Taken.Format(time.RFC3339))
	m.SHA256, m.ManifestSHA256 = types.StringValue(result.SHA256), types.StringValue(result.ManifestSHA256)
	m.SizeBytes = types.Int64Value(result.Size)
	heights := map[string]int64{}
	for channel, height := range result.Heights {
		heights[channel] = int64(height)
	}
	var d diag.Diagnostics
	m.Heights, d = types.MapValueFrom(ctx, types.Int64Type, heights)
	diags.Append(d...)
}

// Read keeps the state: the archive is the user's, who may have put it elsewhere since.
func (r *backupResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

// Update changes what the next backup is taken with; everything else takes one.
func (r *backupResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete forgets the backup, and leaves the archive.
func (r *backupResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
