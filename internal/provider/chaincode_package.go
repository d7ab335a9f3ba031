package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// packageModel is where the package of a chaincode comes from.
type packageModel struct {
	Type    types.String `tfsdk:"type"`
	Path    types.String `tfsdk:"path"`
	Main    types.String `tfsdk:"main"`
	Archive types.String `tfsdk:"archive"`
}

var packageTypes = map[string]attr.Type{
	"type": types.StringType, "path": types.StringType, "main": types.StringType, "archive": types.StringType,
}

func packageAttribute() schema.SingleNestedAttribute {
	text := func(what string, more ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: what, Validators: append(more, stringvalidator.LengthAtLeast(1))}
	}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "A package that is not the provider's own: either `type` and `path` of source, which peers build, or `archive`, a file as `peer lifecycle chaincode package` makes it. " +
			"Folder and file are read at plan: what changes in them is an upgrade. The state holds the package ID, and nothing of the content.\n\n" +
			"Peers build with the builder that their `config` names in `chaincode.externalBuilders`, beside `ccaas_builder`; their image must have it. Building by Docker (`vm.endpoint`) is not offered: a peer with the engine's socket has the whole machine. " +
			"A build has the time of the peer's `chaincode.installTimeout`, 5 minutes unless set; what a builder complains of is in the error. " +
			"The provider's tests build and run `golang`; of `node` and `java` they test the package, not the build.",
		Attributes: map[string]schema.Attribute{
			"type": text("Type of the source: `golang`, `node` or `java`.", stringvalidator.OneOf(lifecycle.SourceTypes...)),
			"path": text("Folder of the source, with `go.mod`, `package.json`, or the build file of Maven or Gradle; a relative one is below Terraform's working directory, so write `\"${path.module}/…\"`. " +
				"Everything in it is packed but what a build does not read: names that begin with a dot, tests of Go, `node_modules`, and of Java `target`, `build`, `out` and `*.class`. The same files give the same package on every machine, whatever their times, owners and modes. Symbolic links are refused. " +
				"CouchDB indexes lie in `META-INF/statedb/couchdb/indexes`, for `golang` beside the main package. Peers without access to a module proxy or package registry need the dependencies in it (`go mod vendor`)."),
			"main":    text("Folder of the main package below `path`, for `golang`. Defaults to `path` itself."),
			"archive": text("File of a package (`.tar.gz`), of any type. Links, paths that leave it, and archives that are damaged or unpack to more than any chaincode has, are refused. A `ccaas` one may have a `server`, when its `connection.json` names the address at which servers of the provider are."),
		},
	}
}

// given reads the package attribute; nil when there is none, or not yet.
func (m *chaincodeModel) given(ctx context.Context, diags *diag.Diagnostics) *packageModel {
	if m.Package.IsNull() || m.Package.IsUnknown() {
		return nil
	}
	p := &packageModel{}
	diags.Append(m.Package.As(ctx, p, basetypes.ObjectAsOptions{})...)
	return p
}

// packageSource reads where the package comes from; nil for the provider's own.
func (m *chaincodeModel) packageSource(ctx context.Context, diags *diag.Diagnostics) *network.PackageSource {
	p := m.given(ctx, diags)
	if p == nil {
		return nil
	}
	return &network.PackageSource{Type: p.Type.ValueString(), Path: p.Path.ValueString(), Main: p.Main.ValueString(), Archive: p.Archive.ValueString()}
}

// validatePackage refuses packages of two origins or of none, and servers where there is nothing to serve.
func (m *chaincodeModel) validatePackage(ctx context.Context, diags *diag.Diagnostics) {
	if m.Package.IsNull() {
		if m.Server.IsNull() {
			diags.AddAttributeError(path.Root("server"), "Missing server", "Without a package of source or a given one, a chaincode is run as a service: set server with its image, or package.")
		}
		return
	}
	if m.Package.IsUnknown() { // it may yet be none
		return
	}
	at := path.Root("package")
	if !m.Indexes.IsNull() {
		diags.AddAttributeError(path.Root("indexes"), "Indexes beside a package", "A package that is not the provider's own brings its indexes: put them in META-INF/statedb/couchdb/indexes of the source, one file each.")
	}
	p := m.given(ctx, diags)
	switch {
	case !p.Path.IsNull() && !p.Archive.IsNull():
		diags.AddAttributeError(at.AtName("archive"), "Package of two origins", "A package comes from a path or from an archive: set one of them.")
	case p.Path.IsNull() && p.Archive.IsNull():
		diags.AddAttributeError(at.AtName("path"), "Package of no origin", "A package comes from a path or from an archive: set one of them.")
	case p.Archive.IsNull() && p.Type.IsNull():
		diags.AddAttributeError(at.AtName("type"), "Missing type", "Source has a type, by which the peers choose its builder: "+strings.Join(lifecycle.SourceTypes, ", ")+".")
	case p.Path.IsNull() && !p.Type.IsNull():
		diags.AddAttributeError(at.AtName("type"), "Type of an archive", "An archive names its type itself: leave type out.")
	case p.Path.IsNull() && !p.Main.IsNull():
		diags.AddAttributeError(at.AtName("main"), "Main package of an archive", "An archive names its main package itself: leave main out.")
	case !p.Main.IsNull() && !p.Type.IsUnknown() && p.Type.ValueString() != lifecycle.TypeGolang:
		diags.AddAttributeError(at.AtName("main"), "Main package without Go", "Only source of type golang has a main package: leave main out.")
	}
	if !p.Path.IsNull() && !m.Server.IsNull() {
		refuseServer(diags, p.Type.ValueString())
	}
}

func refuseServer(diags *diag.Diagnostics, packageType string) {
	diags.AddAttributeError(path.Root("server"), "Server of a chaincode that peers run", fmt.Sprintf("Peers build chaincode of type %s, and run it themselves: leave server out.", packageType))
}

// fromArchive tells whether the package is a file, or may be one.
func (m *chaincodeModel) fromArchive() bool {
	archive, ok := m.Package.Attributes()["archive"]
	return m.Package.IsUnknown() || ok && !archive.IsNull()
}

// planGivenPackage reads the folder or the archive, and takes label and package ID from it.
func (m *chaincodeModel) planGivenPackage(ctx context.Context, channel types.String, diags *diag.Diagnostics) {
	if !known(ctx, m.Package) {
		return
	}
	source := m.packageSource(ctx, diags)
	if diags.HasError() || source.Archive == "" && m.Label.IsUnknown() {
		return
	}
	at := path.Root("package").AtName("path")
	if source.Archive != "" {
		at = path.Root("package").AtName("archive")
	}
	info, err := source.Describe(m.Label.ValueString())
	if err != nil {
		diags.AddAttributeError(at, "Package that cannot be read", sentence(err))
		return
	}
	if !lifecycle.IsServed(info.Type) && !m.Server.IsNull() {
		refuseServer(diags, info.Type)
	}
	if !m.Label.IsUnknown() && m.Label.ValueString() != info.Label {
		diags.AddAttributeError(path.Root("label"), "Label of another package", fmt.Sprintf("The package in %s has the label %s. Leave label out: it is taken from there.", source.Archive, info.Label))
	}
	if want := network.ServerAddress(channel.ValueString(), info.Label); !m.Server.IsNull() && info.Address != "" && !channel.IsUnknown() && info.Address != want {
		diags.AddAttributeError(path.Root("server"), "Server that no peer would reach",
			fmt.Sprintf("The connection.json of %s says that the servers are at %s, and servers of the provider are at %s. Write that address into it, or leave server out and run the servers by other means.", source.Archive, info.Address, want))
	}
	m.Label, m.PackageID = types.StringValue(info.Label), types.StringValue(info.ID)
}
