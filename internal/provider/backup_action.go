package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/action/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// backupAction takes a backup whenever it is invoked, and keeps nothing of it in a state.
type backupAction struct{ configured }

var _ action.ActionWithConfigure = &backupAction{}

func newBackupAction() action.Action { return &backupAction{} }

// backupActionModel is an action fabric_backup.
type backupActionModel struct {
	Network        types.Object   `tfsdk:"network"`
	Path           types.String   `tfsdk:"path"`
	PassphraseWO   types.String   `tfsdk:"passphrase_wo"`
	MaxUnavailable types.Int64    `tfsdk:"max_unavailable"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`
}

func (a *backupAction) Metadata(_ context.Context, req action.MetadataRequest, resp *action.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_backup"
}

func (a *backupAction) Configure(_ context.Context, req action.ConfigureRequest, resp *action.ConfigureResponse) {
	a.configure(req.ProviderData, &resp.Diagnostics)
}

func (a *backupAction) Schema(ctx context.Context, _ action.SchemaRequest, resp *action.SchemaResponse) {
	limit := timeouts.AttributesWithOpts(ctx, timeouts.Opts{InvokeDescription: "How long the backup may take, as a duration such as `2h30m`. Defaults to `5m`."})
	if nested, ok := limit.(schema.SingleNestedAttribute); ok {
		nested.MarkdownDescription = "How long the backup may take before it fails."
		limit = nested
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Takes a backup of a `fabric_network` when it is invoked, as the resource `fabric_backup` does when it is created.",
		Attributes: map[string]schema.Attribute{
			"network": schema.ObjectAttribute{
				Required: true, AttributeTypes: handleTypes,
				MarkdownDescription: "Handle of the `fabric_network`.",
				Validators:          []validator.Object{handleKind{[]network.Kind{network.KindNetwork}}},
			},
			"path": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Path of the archive, a local file in a folder that is there. An archive of before is replaced when the new one is whole.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"passphrase_wo": schema.StringAttribute{
				Required: true, WriteOnly: true,
				MarkdownDescription: "Passphrase that the archive is encrypted with, 12 characters or more. Whoever has it and the archive has every key of the network; without it, the archive is worth nothing. Write-only.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(12)},
			},
			"max_unavailable": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "How many peers of an organization may be down at a time, the one that is read included. Defaults to 1.",
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
			},
			"timeouts": limit,
		},
	}
}

// Invoke takes the backup.
func (a *backupAction) Invoke(ctx context.Context, req action.InvokeRequest, resp *action.InvokeResponse) {
	var config backupActionModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	f := a.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, config.Timeouts.Invoke, &resp.Diagnostics)
	defer cancel()
	spec := network.BackupSpec{
		Handle: handleFrom(ctx, config.Network, &resp.Diagnostics), Path: config.Path.ValueString(),
		Passphrase: config.PassphraseWO.ValueString(), MaxUnavailable: int(config.MaxUnavailable.ValueInt64()),
	}
	if resp.Diagnostics.HasError() {
		return
	}
	result, taken := takeBackup(ctx, f, spec, &resp.Diagnostics)
	if !taken {
		return
	}
	var heights []string
	for _, channel := range slices.Sorted(maps.Keys(result.Heights)) {
		heights = append(heights, fmt.Sprintf("%d blocks of channel %s", result.Heights[channel], channel))
	}
	resp.SendProgress(action.InvokeProgressEvent{Message: strings.Join(append([]string{
		fmt.Sprintf("Network %s is in %s: %d bytes, SHA-256 %s", spec.Handle.Network, spec.Path, result.Size, result.SHA256),
	}, heights...), ", ")})
}
