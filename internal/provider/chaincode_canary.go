package provider

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/float64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/float64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/canary"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// canaryModel is how a roll of servers is watched.
type canaryModel struct {
	Steps           types.List    `tfsdk:"steps"`
	Duration        types.String  `tfsdk:"duration"`
	Deadline        types.String  `tfsdk:"deadline"`
	MinimumCalls    types.Int64   `tfsdk:"minimum_calls"`
	MaxFailureRatio types.Float64 `tfsdk:"max_failure_ratio"`
	MaxLatencyRatio types.Float64 `tfsdk:"max_latency_ratio"`
	MaxRestarts     types.Int64   `tfsdk:"max_restarts"`
	Queries         types.Map     `tfsdk:"queries"`
	Prometheus      types.Object  `tfsdk:"prometheus"`
}

// canaryQueryModel is a query whose results are compared.
type canaryQueryModel struct {
	Identity  types.Object `tfsdk:"identity"`
	Function  types.String `tfsdk:"function"`
	Arguments types.List   `tfsdk:"arguments"`
}

// prometheusModel is a value that Prometheus measures.
type prometheusModel struct {
	Address       types.String  `tfsdk:"address"`
	Query         types.String  `tfsdk:"query"`
	Minimum       types.Float64 `tfsdk:"minimum"`
	Maximum       types.Float64 `tfsdk:"maximum"`
	CACertificate types.String  `tfsdk:"ca_certificate"`
	BearerTokenWO types.String  `tfsdk:"bearer_token_wo"`
}

// canaryPath is where a chaincode says how a roll of its servers is watched.
var canaryPath = path.Root("canary")

func canaryAttribute() schema.SingleNestedAttribute {
	identity := handleInput("Handle of the `fabric_identity` that signs, or of a `fabric_organization`, whose admin then does. Defaults to the admin of the peer's organization.", network.KindIdentity, network.KindOrganization)
	identity.Required, identity.Optional = false, true
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "How a change of the servers (of `server`, under the definition in force) is tried on some of them before all have it. Servers are replaced one after the other until a step is reached; then the new ones are watched, against the others. When they do as well, the next step follows, and after the last one the rest. " +
			"Otherwise, and when too little is known at the deadline, all are put back as they were, and the apply fails. The figures are those of the peers' own metrics (`endorser_proposal_duration`), which must not be switched off: every call that a peer takes on for the chaincode counts, of clients and of other peers' gateways, but no query of the canary itself. " +
			"Without `canary` the servers are replaced one after the other, each when the one before it serves. A new definition or package is not tried so: it is in force for all peers at once. Neither is another `per` of `server`.",
		Attributes: map[string]schema.Attribute{
			"steps": schema.ListAttribute{
				Optional: true, Computed: true, ElementType: types.StringType,
				Default:             listdefault.StaticValue(types.ListValueMust(types.StringType, []attr.Value{types.StringValue("1")})),
				MarkdownDescription: "At how many new servers it is watched: numbers, such as `1`, or shares of those that are to be replaced, such as `50%`, each more than the one before. At the first there must be others left to compare with; one that leaves none is not watched. Defaults to `[1]`.",
				Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.ValueStringsAre(check{wants: "a number or a share of servers", summary: "Not a step", problem: func(text string) error {
					_, err := canary.ParseStep(text)
					return err
				}})},
			},
			"duration": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "How long it is watched at each step, at least, as a duration such as `10m`. `timeouts.update` must have room for all steps.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			},
			"deadline": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "How long it is watched at each step, at most: who has seen too little when `duration` is over goes on until then. Defaults to twice the duration.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			},
			"minimum_calls": schema.Int64Attribute{
				Required:            true,
				MarkdownDescription: "How many calls the peers with new servers together must have taken at each step, and the other peers too, where latency is compared. With fewer of them the servers do not pass.",
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
			},
			"max_failure_ratio": schema.Float64Attribute{
				Optional: true, Computed: true, Default: float64default.StaticFloat64(0.01),
				MarkdownDescription: "Which share of the calls may fail beyond the share that fails at the other peers at the same time. Failed are calls whose server is not reached or does not answer, and those that the chaincode refuses. Defaults to `0.01`, one in a hundred.",
				Validators:          []validator.Float64{float64validator.Between(0, 1)},
			},
			"max_latency_ratio": schema.Float64Attribute{
				Optional: true, Computed: true, Default: float64default.StaticFloat64(2),
				MarkdownDescription: "How many times as long as at the other peers a call may take that does not fail, on average. `0` compares no latency. Defaults to `2`.",
				Validators:          []validator.Float64{float64validator.Any(float64validator.OneOf(0), float64validator.AtLeast(1))},
			},
			"max_restarts": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(0),
				MarkdownDescription: "How often each new server may end and be started again by the engine. Defaults to 0.",
				Validators:          []validator.Int64{int64validator.AtLeast(0)},
			},
			"queries": schema.MapNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Queries whose results must not change, by names of your choice. Each is put to every peer with a new server and to another one, of the same organization where there is one, while both are at the same height, and both must give the same bytes. They are put again and again; what they would write is not written.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"identity": identity,
					"function": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Function of the chaincode. Needed.",
						Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
					},
					"arguments": schema.ListAttribute{
						Optional: true, ElementType: types.StringType,
						MarkdownDescription: "Arguments of the function.",
					},
				}},
			},
			"prometheus": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "A value that a Prometheus server measures, and bounds of it. It is asked for as long as the new servers are watched; no value is not a pass. Needs `minimum` or `maximum`.",
				Attributes: map[string]schema.Attribute{
					"address": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Address of the server, for example `https://prometheus.example.com:9090`, as it is reached from where Terraform runs. It is in the state: no password belongs here.",
						Validators:          []validator.String{check{wants: "an address of HTTP", summary: "Not an address", problem: plainURL}},
					},
					"query": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Expression in PromQL, whose value is a scalar or a vector of one element. A comparison with `bool` gives 0 or 1.",
						Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
					},
					"minimum": schema.Float64Attribute{Optional: true, MarkdownDescription: "The least that the value may be."},
					"maximum": schema.Float64Attribute{Optional: true, MarkdownDescription: "The most that the value may be."},
					"ca_certificate": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Certificates, in PEM, of who vouches for the server. Defaults to those of the system.",
						Validators: []validator.String{check{wants: "certificates in PEM", summary: "Not a certificate", problem: func(text string) error {
							if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
								return errors.New("there is no certificate in PEM in it")
							}
							return nil
						}}},
					},
					"bearer_token_wo": schema.StringAttribute{
						Optional: true, WriteOnly: true, Sensitive: true,
						MarkdownDescription: "Bearer token that the server asks for, over HTTPS only. Write-only: it is used by the apply that is given it, so that it needs no version.",
						Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
					},
				},
			},
		},
	}
}

// plainURL accepts an address of HTTP that holds no secret.
func plainURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("it is no URL") // which the parser would repeat, with a password in it
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("an address begins with http:// or https:// and names a host")
	case u.User != nil:
		return errors.New("an address goes to the state and holds no user and no password: use bearer_token_wo")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("an address ends with its path")
	}
	return nil
}

// canaryReserve is what an apply needs beside the watch: servers to be replaced, and calls that reach them.
const canaryReserve = time.Minute

// validateCanary refuses a canary that has nothing to watch, cannot pass, or takes longer than the apply may.
func (m *chaincodeModel) validateCanary(ctx context.Context, diags *diag.Diagnostics) {
	if m.Canary.IsNull() || m.Canary.IsUnknown() {
		return
	}
	if m.Server.IsNull() {
		diags.AddAttributeError(canaryPath, "Canary without servers", "A canary is a change of chaincode servers that is tried on some of them, and this chaincode has no server.")
	}
	var c canaryModel
	diags.Append(m.Canary.As(ctx, &c, basetypes.ObjectAsOptions{})...)
	c.validateSteps(ctx, diags)
	c.validateQueries(ctx, diags)
	c.validatePrometheus(ctx, diags)
	duration, deadline := durationOf(c.Duration), durationOf(c.deadline())
	if duration == 0 || deadline == 0 || c.Steps.IsUnknown() {
		return
	}
	if deadline < duration {
		addNested(diags, canaryPath.AtName("deadline"), "Deadline before the end", fmt.Sprintf("The deadline of %s is before the duration of %s is over. Set it to that or more, or leave it out.", durationText(deadline), durationText(duration)))
		return
	}
	limit, d := m.Timeouts.Update(ctx, defaultTimeout)
	diags.Append(d...)
	if needed := time.Duration(max(1, len(c.Steps.Elements())))*deadline + canaryReserve; !m.Timeouts.IsUnknown() && limit < needed {
		diags.AddAttributeError(path.Root("timeouts"), "Canary longer than the apply",
			fmt.Sprintf("The steps of canary take up to %s, with what an apply needs beside them, and an update ends after %s. Set timeouts.update to %s or more, or a shorter duration or deadline in canary.", durationText(needed), durationText(limit), durationText(needed)))
	}
}

// deadline is what is configured, or else twice the duration.
func (c *canaryModel) deadline() types.String {
	if c.Deadline.IsNull() && !c.Duration.IsUnknown() {
		return types.StringValue((2 * durationOf(c.Duration)).String())
	}
	return c.Deadline
}

// validateSteps refuses steps that do not grow, and a first one that leaves nothing to compare with.
func (c *canaryModel) validateSteps(ctx context.Context, diags *diag.Diagnostics) {
	if !known(ctx, c.Steps) {
		return
	}
	var last canary.Step
	for i, text := range stringList(ctx, c.Steps, diags) {
		step, err := canary.ParseStep(text)
		at := canaryPath.AtName("steps").AtListIndex(i)
		switch {
		case err != nil: // the validator has told already
		case i == 0 && step.Percent == 100:
			addNested(diags, at, "First step that replaces all", "A canary compares new servers with others, and 100% leaves none. Begin with fewer.")
		case step.Percent > 0 && step.Percent <= last.Percent || step.Servers > 0 && step.Servers <= last.Servers:
			addNested(diags, at, "Step that adds no server", fmt.Sprintf("The step %s is not more than one before it. Each must be more.", text))
		}
		last = canary.Step{Servers: max(last.Servers, step.Servers), Percent: max(last.Percent, step.Percent)}
	}
}

func (c *canaryModel) validateQueries(ctx context.Context, diags *diag.Diagnostics) {
	for _, name := range slices.Sorted(maps.Keys(c.Queries.Elements())) {
		object, ok := c.Queries.Elements()[name].(types.Object)
		if !ok || object.IsUnknown() || object.IsNull() {
			continue
		}
		var q canaryQueryModel
		diags.Append(object.As(ctx, &q, basetypes.ObjectAsOptions{})...)
		if q.Function.IsNull() {
			addNested(diags, canaryPath.AtName("queries").AtMapKey(name).AtName("function"), "Missing function", "A query needs the function of the chaincode that it calls.")
		}
	}
}

func (c *canaryModel) validatePrometheus(ctx context.Context, diags *diag.Diagnostics) {
	if c.Prometheus.IsNull() || c.Prometheus.IsUnknown() {
		return
	}
	var p prometheusModel
	diags.Append(c.Prometheus.As(ctx, &p, basetypes.ObjectAsOptions{})...)
	at := canaryPath.AtName("prometheus")
	if p.Minimum.IsNull() && p.Maximum.IsNull() {
		addNested(diags, at, "Value without bounds", "Any value would pass. Set minimum, maximum or both.")
	}
	if known(ctx, p.Minimum, p.Maximum) && !p.Minimum.IsNull() && !p.Maximum.IsNull() && p.Minimum.ValueFloat64() > p.Maximum.ValueFloat64() {
		addNested(diags, at.AtName("maximum"), "Bounds that nothing keeps", fmt.Sprintf("No value is at least %g and at most %g.", p.Minimum.ValueFloat64(), p.Maximum.ValueFloat64()))
	}
	if !p.BearerTokenWO.IsNull() && strings.HasPrefix(p.Address.ValueString(), "http://") {
		addNested(diags, at.AtName("address"), "Token without TLS", "A bearer token is sent over HTTPS only. Use an https:// address.")
	}
}

// canary reads how a roll of servers is watched; nil when it is not. A token is only in the configuration.
func (m *chaincodeModel) canary(ctx context.Context, diags *diag.Diagnostics) *network.Canary {
	if m.Canary.IsNull() {
		return nil
	}
	var c canaryModel
	diags.Append(m.Canary.As(ctx, &c, basetypes.ObjectAsOptions{})...)
	out := &network.Canary{
		Duration: durationOf(c.Duration), Deadline: durationOf(c.deadline()),
		Limits: canary.Limits{
			MinimumCalls: int(c.MinimumCalls.ValueInt64()), MaxFailureRatio: c.MaxFailureRatio.ValueFloat64(),
			MaxLatencyRatio: c.MaxLatencyRatio.ValueFloat64(), MaxRestarts: int(c.MaxRestarts.ValueInt64()),
		},
	}
	for i, text := range stringList(ctx, c.Steps, diags) {
		step, err := canary.ParseStep(text)
		if err != nil {
			addNested(diags, canaryPath.AtName("steps").AtListIndex(i), "Not a step", sentence(err))
		}
		out.Steps = append(out.Steps, step)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Queries.Elements())) {
		object, ok := c.Queries.Elements()[name].(types.Object)
		if !ok {
			continue
		}
		var q canaryQueryModel
		diags.Append(object.As(ctx, &q, basetypes.ObjectAsOptions{})...)
		query := network.CanaryQuery{Function: q.Function.ValueString(), Arguments: stringList(ctx, q.Arguments, diags)}
		if !q.Identity.IsNull() {
			query.Identity = handleFrom(ctx, q.Identity, diags)
		}
		out.Queries = append(out.Queries, query)
	}
	if c.Prometheus.IsNull() {
		return out
	}
	var p prometheusModel
	diags.Append(c.Prometheus.As(ctx, &p, basetypes.ObjectAsOptions{})...)
	out.Prometheus = &network.PrometheusQuery{Address: p.Address.ValueString(), Expression: p.Query.ValueString(), Roots: p.CACertificate.ValueString()}
	out.Limits.MinimumValue, out.Limits.MaximumValue = p.Minimum.ValueFloat64Pointer(), p.Maximum.ValueFloat64Pointer()
	return out
}

// takeToken adds to a canary the token that is only in the configuration.
func takeToken(ctx context.Context, config tfsdk.Config, to *network.Canary, diags *diag.Diagnostics) {
	if to == nil || to.Prometheus == nil {
		return
	}
	var token types.String
	diags.Append(config.GetAttribute(ctx, canaryPath.AtName("prometheus").AtName("bearer_token_wo"), &token)...)
	to.Prometheus.Token = token.ValueString()
}
