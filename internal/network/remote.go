package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
)

// RemoteOrderer is an ordering node that our engine does not run, as a person types it.
type RemoteOrderer struct {
	// Address is host:port, as it is reached from here.
	Address string `json:"address"`
	// TLSRoots are the roots of its TLS certificate, each in PEM.
	TLSRoots []string `json:"tls_root_certificates"`
	// ServerName is the name in its certificate; empty when that is the host of the address.
	ServerName string `json:"tls_server_name,omitempty"`
}

// Remote is where a node is found that our engine does not run. It can be compared.
type Remote struct {
	Address    string `json:"address"`
	ServerName string `json:"server_name"`
	// TLSRoots are the roots of its TLS certificate, in PEM.
	TLSRoots string `json:"tls_roots"`
}

func (h Handle) remote() bool { return h.Remote != Remote{} }

// remoteOrderers gives handles of ordering nodes that run elsewhere. They are asked as the admin of an
// organization of ours.
func remoteOrderers(org Handle, orderers map[string]RemoteOrderer) []Handle {
	var out []Handle
	for _, name := range slices.Sorted(maps.Keys(orderers)) {
		o := orderers[name]
		h := org.With(KindOrderer, name, org.MSPID)
		h.Remote = Remote{Address: o.Address, ServerName: o.ServerName, TLSRoots: strings.Join(o.TLSRoots, "\n")}
		if h.Remote.ServerName == "" {
			h.Remote.ServerName = hostOf(o.Address)
		}
		out = append(out, h)
	}
	return out
}

// remoteConn gives the connection to a node that runs elsewhere: plain TCP from where this runs.
func (f *Fabric) remoteConn(h Handle) (*grpc.ClientConn, error) {
	r := h.Remote
	roots := sha256.Sum256([]byte(r.TLSRoots))
	return f.conns.keep("remote "+r.Address+" "+r.ServerName+" "+hex.EncodeToString(roots[:]), func() (*grpc.ClientConn, error) {
		pool, err := certPool([]string{r.TLSRoots})
		if err != nil {
			return nil, fmt.Errorf("unable to read the TLS roots of %s: %w", h, err)
		}
		dial := func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.Address)
		}
		conn, err := grpcconn.Dial(r.Address, r.ServerName, pool, dial, nil, f.logged()...)
		if err != nil {
			return nil, fmt.Errorf("unable to connect to %s: %w", h, err)
		}
		return conn, nil
	})
}

// answerPatience is how long ordering nodes that do not answer are asked again, before somebody has to
// look at why.
const answerPatience = 30 * time.Second

// currentConfig is latestConfig with patience for nodes that are just being restarted. Refusals are final;
// one for want of membership is an *AdmissionError.
func (f *Fabric) currentConfig(ctx context.Context, channel Handle, orderers []Handle) (config *configtx.Config, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) (err error) {
		config, err = f.latestConfig(ctx, channel, orderers)
		if err == nil {
			return nil
		}
		if len(orderers) == 0 || errors.As(err, new(*grpcconn.CertificateError)) {
			return permanent(err)
		}
		if admission := f.admission(ctx, channel.Name, orderers[0].Organization(), err); admission != nil {
			return permanent(admission)
		}
		return err
	})
	return config, err
}
