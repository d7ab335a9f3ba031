package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// session is what one configured provider has: its settings, and the use cases over its engine,
// which are made when first needed. Terraform configures a provider during validate and plan too,
// at times with values that are not known yet; nothing is contacted then.
type session struct {
	config providerModel
	open   func() (*network.Fabric, error)
	ports  plannedPorts
	claims claims
}

// errUnknownSetting: a setting of the provider block is not known during this plan.
var errUnknownSetting = errors.New("its value is not known yet")

func newSession(config providerModel) *session {
	s := &session{config: config}
	s.open = sync.OnceValues(s.connect)
	return s
}

func (s *session) connect() (*network.Fabric, error) {
	if s.config.DockerHost.IsUnknown() {
		return nil, fmt.Errorf("unable to reach the engine: docker_host in the provider block: %w", errUnknownSetting)
	}
	options := docker.Options{Host: s.config.DockerHost.ValueString()}
	if r := s.config.ImageRegistry; r != nil {
		if r.Address.IsUnknown() || r.Username.IsUnknown() || r.Password.IsUnknown() {
			return nil, fmt.Errorf("unable to reach the engine: image_registry in the provider block: %w", errUnknownSetting)
		}
		if r.Username.ValueString() != "" {
			host, _, _ := strings.Cut(r.Address.ValueString(), "/")
			options.Registries = map[string]docker.Credentials{
				host: {Username: r.Username.ValueString(), Password: r.Password.ValueString()},
			}
		}
	}
	e, err := docker.New(options)
	if err != nil {
		return nil, err
	}
	return network.New(engine.Logged(e, slog.New(subsystem{name: logEngine}))).LogTo(slog.New(subsystem{name: logNode})), nil
}

// image gives the default image of a kind of node, unknown while the provider block is.
func (s *session) image(name string, version types.String) types.String {
	if version.IsUnknown() {
		return types.StringUnknown()
	}
	reference := name + ":" + version.ValueString()
	if r := s.config.ImageRegistry; r != nil {
		if r.Address.IsUnknown() {
			return types.StringUnknown()
		}
		reference = strings.TrimSuffix(r.Address.ValueString(), "/") + "/" + reference
	}
	return types.StringValue(reference)
}

func (s *session) caImage() types.String {
	return s.image("hyperledger/fabric-ca", s.config.CAVersion)
}

// configured is embedded by everything that needs the session.
type configured struct{ session *session }

func (c *configured) configure(data any, diags *diag.Diagnostics) {
	if data == nil {
		return // validate configures nothing
	}
	s, ok := data.(*session)
	if !ok {
		diags.AddError("Unexpected provider data", fmt.Sprintf("It is a %T. This is a defect of the provider.", data))
		return
	}
	c.session = s
}

// Configure takes the session; it serves every resource.
func (c *configured) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	c.configure(req.ProviderData, &resp.Diagnostics)
}

// fabric gives the use cases, or an error diagnostic.
func (c *configured) fabric(diags *diag.Diagnostics) *network.Fabric {
	f, err := c.session.open()
	if err != nil {
		addError(diags, "Unable to reach the engine", err)
		return nil
	}
	return f
}

// engineKey is the private state entry that holds the ID of the engine a resource lives on.
const engineKey = "engine_id"

// privateState is the private state of a request or response.
type privateState interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

type privateStateWriter interface {
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

// rememberEngine keeps the engine's ID with the resource.
func rememberEngine(ctx context.Context, f *network.Fabric, private privateStateWriter, diags *diag.Diagnostics) {
	id, err := f.EngineID(ctx)
	if err != nil {
		addError(diags, "Unable to reach the engine", err)
		return
	}
	diags.Append(private.SetKey(ctx, engineKey, []byte(fmt.Sprintf("{\"id\":%q}", id)))...)
}

// verifyEngine fails when the engine is not the one that the resource lives on.
func verifyEngine(ctx context.Context, f *network.Fabric, private privateState, diags *diag.Diagnostics) {
	raw, d := private.GetKey(ctx, engineKey)
	diags.Append(d...)
	var kept struct{ ID string }
	if len(raw) > 0 {
		if err := unmarshal(raw, &kept); err != nil {
			addError(diags, "Unable to read private state", err)
			return
		}
	}
	if err := f.VerifyEngine(ctx, kept.ID); err != nil {
		diags.AddAttributeError(path.Empty(), "Unable to use the engine", explain(err))
	}
}
