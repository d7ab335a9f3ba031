package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// stateFromPlan is what goes to state before the first side effect: the plan, with what is not
// known yet as null. So a create that fails or is cancelled leaves a resource that can be destroyed.
func stateFromPlan(plan tfsdk.Plan, diags *diag.Diagnostics) tfsdk.State {
	raw, err := tftypes.Transform(plan.Raw, func(_ *tftypes.AttributePath, v tftypes.Value) (tftypes.Value, error) {
		if !v.IsKnown() {
			return tftypes.NewValue(v.Type(), nil), nil
		}
		return v, nil
	})
	if err != nil {
		addError(diags, "Unable to write state", err)
	}
	return tfsdk.State{Raw: raw, Schema: plan.Schema}
}

// defaultTimeout bounds an operation for which the configuration says nothing.
const defaultTimeout = 5 * time.Minute

// operationTimeouts is the timeouts attribute of every resource with long operations.
func operationTimeouts(ctx context.Context) schema.Attribute {
	attribute := timeouts.Attributes(ctx, timeouts.Opts{
		Create: true, Update: true, Delete: true,
		CreateDescription: "How long creating may take, as a duration such as `2m30s`. Defaults to `5m`.",
		UpdateDescription: "How long updating may take, as a duration such as `2m30s`. Defaults to `5m`.",
		DeleteDescription: "How long deleting may take, as a duration such as `2m30s`. Defaults to `5m`.",
	})
	if nested, ok := attribute.(schema.SingleNestedAttribute); ok {
		nested.MarkdownDescription = "How long operations may take before they fail."
		return nested
	}
	return attribute
}

// bounded gives the context of an operation: it ends at the timeout that ask tells.
func bounded(ctx context.Context, ask func(context.Context, time.Duration) (time.Duration, diag.Diagnostics), diags *diag.Diagnostics) (context.Context, context.CancelFunc) {
	limit, d := ask(ctx, defaultTimeout)
	diags.Append(d...)
	return context.WithTimeout(ctx, limit)
}
