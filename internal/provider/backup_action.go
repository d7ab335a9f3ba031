package provider

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/action/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// backupAction takes a backup whenever it is invoked, and keeps nothing of it in a state.
type backupAction struct{ configured }

var (
	_ action.ActionWithConfigure  = &backupAction{}
	_ action.ActionWithModifyPlan = &backupAction{}
)

func newBackupAction() action.Action { return &backupAction{} }

// backupActionModel is an action fabric_backup.
type backupActionModel struct {
	Network        types.Object   `tfsdk:"network"`
	Path           types.String   `tfsdk:"path"`
	PassphraseFile types.String   `tfsdk:"passphrase_file"`
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
			// Terraform hands no write-only value to an action yet, and writes every other one into the plan.
			"passphrase_file": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Path of a local file with the passphrase that the archive is encrypted with, in one line of 12 characters or more. Whoever has it and the archive has every key of the network; without it, the archive is worth nothing.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
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

// ModifyPlan refuses a file that holds no passphrase.
func (a *backupAction) ModifyPlan(ctx context.Context, req action.ModifyPlanRequest, resp *action.ModifyPlanResponse) {
	var config backupActionModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if !resp.Diagnostics.HasError() && !config.PassphraseFile.IsUnknown() {
		config.passphrase(&resp.Diagnostics)
	}
}

// passphrase reads the passphrase.
func (m *backupActionModel) passphrase(diags *diag.Diagnostics) string {
	at := path.Root("passphrase_file")
	content, err := os.ReadFile(m.PassphraseFile.ValueString())
	if err != nil {
		diags.AddAttributeError(at, "Unable to read the passphrase", sentence(err))
		return ""
	}
	text := strings.TrimRight(string(content), "\r\n")
	if len(text) < shortestPassphrase || strings.ContainsAny(text, "\r\n") {
		diags.AddAttributeError(at, "Not a passphrase", fmt.Sprintf("The file must hold one line of %d characters or more.", shortestPassphrase))
	}
	return text
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
		Passphrase: config.passphrase(&resp.Diagnostics), MaxUnavailable: int(config.MaxUnavailable.ValueInt64()),
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
