package provider

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// plannedPorts are the host ports that the plans of one run want, by node. Terraform shows a
// provider one resource at a time, so this is how two of them are found to want the same port. Only
// planned values count, so a port may pass from one node to another within one plan.
type plannedPorts struct {
	mu    sync.Mutex
	nodes map[string][]portWish
}

// portWish is a published port and the attribute that says so.
type portWish struct {
	address string
	port    int64
	at      path.Path
}

// wantedPorts are the ports of a node as far as they are known.
func wantedPorts(address types.String, ports ...plannedAt) []portWish {
	var out []portWish
	for _, p := range ports {
		if !address.IsUnknown() && !p.value.IsUnknown() && !p.value.IsNull() {
			out = append(out, portWish{address.ValueString(), p.value.ValueInt64(), p.at})
		}
	}
	return out
}

type plannedAt struct {
	value types.Int64
	at    path.Path
}

// want takes the ports that a node is planned to have, in place of those that it was planned to have
// before, and refuses those that another one wants too.
func (p *plannedPorts) want(handle types.Object, ports []portWish, diags *diag.Diagnostics) {
	for i, port := range ports {
		if slices.ContainsFunc(ports[:i], port.clashes) {
			refusePort(port, "two endpoints of the same node", diags)
		}
	}
	node, known := nodeIdentity(handle)
	if !known {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes == nil {
		p.nodes = map[string][]portWish{}
	}
	delete(p.nodes, node)
	for _, port := range ports {
		for other, others := range p.nodes {
			if slices.ContainsFunc(others, port.clashes) {
				refusePort(port, node+" and "+other, diags)
			}
		}
	}
	p.nodes[node] = ports
}

// leave forgets a node that is planned to go.
func (p *plannedPorts) leave(handle types.Object) {
	if node, known := nodeIdentity(handle); known {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.nodes, node)
	}
}

// nodeIdentity names a node: "peer peer0.org1 of network dev".
func nodeIdentity(handle types.Object) (name string, known bool) {
	var h network.Handle
	for _, member := range []struct {
		name string
		into *string
	}{{"kind", (*string)(&h.Kind)}, {"network", &h.Network}, {"name", &h.Name}} {
		value := handleMember(handle, member.name)
		if value.IsUnknown() || value.IsNull() {
			return "", false
		}
		*member.into = value.ValueString()
	}
	return fmt.Sprintf("%s of network %s", h, h.Network), true
}

// clashes tells whether both cannot be bound on one host.
func (p portWish) clashes(other portWish) bool {
	return p.port == other.port && (p.address == other.address || everyAddress(p.address) || everyAddress(other.address))
}

func everyAddress(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.IsUnspecified()
}

func refusePort(port portWish, both string, diags *diag.Diagnostics) {
	diags.AddAttributeError(port.at, "Host port wanted twice", fmt.Sprintf(
		"Host port %s (%s) is wanted by %s. Choose another port for one of them, or none: then a free one is chosen.",
		net.JoinHostPort(port.address, strconv.FormatInt(port.port, 10)), port.at, both))
}
