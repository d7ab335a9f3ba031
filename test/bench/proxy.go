package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// planThroughProxy plans once more with a proxy between Terraform and the provider, and gives every
// call that Terraform made of the provider. This plan is not among those that are timed.
func (t *terraform) planThroughProxy(ctx context.Context) ([]call, error) {
	provider, err := t.debug(ctx)
	if err != nil {
		return nil, err
	}
	defer provider.stop()
	p, reattach, err := newProxy(provider.reattach, filepath.Join(t.scratch, "proxy.sock"))
	if err != nil {
		return nil, err
	}
	defer p.close()
	if _, err := t.runWith(ctx, []string{"TF_REATTACH_PROVIDERS=" + reattach}, "plan", "-detailed-exitcode"); err != nil {
		return nil, err
	}
	return p.taken(), nil
}

// call is a call of the provider's protocol.
type call struct {
	// Method is its name, for example ReadResource; Type the kind of resource, where it is about one.
	Method string `json:"method"`
	Type   string `json:"type,omitempty"`
	// Begin and End are in seconds from the start of the proxy.
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
}

// busy is the time in seconds during which at least one call was under way.
func busy(calls []call) float64 {
	var spans [][2]float64
	for _, c := range calls {
		spans = append(spans, [2]float64{c.Begin, c.End})
	}
	return union(spans)
}

// proxy hands every call on to the provider and notes how long it took. It understands nothing of
// what it hands on.
type proxy struct {
	server   *grpc.Server
	provider *grpc.ClientConn
	start    time.Time
	mu       sync.Mutex
	calls    []call
}

// reattachment is one entry of TF_REATTACH_PROVIDERS (go-plugin's ReattachConfig as JSON).
type reattachment struct {
	Protocol        string
	ProtocolVersion int
	Pid             int
	Test            bool
	Addr            struct{ Network, String string }
}

// newProxy listens on a socket, and gives what Terraform is told to attach to it.
func newProxy(reattach, socket string) (*proxy, string, error) {
	var entries map[string]reattachment
	if err := json.Unmarshal([]byte(reattach), &entries); err != nil {
		return nil, "", fmt.Errorf("unable to read how to attach to the provider: %w", err)
	}
	p := &proxy{start: time.Now()}
	told := map[string]reattachment{}
	for source, entry := range entries {
		conn, err := grpc.NewClient(entry.Addr.Network+":"+entry.Addr.String,
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(largest), grpc.MaxCallSendMsgSize(largest)))
		if err != nil {
			return nil, "", fmt.Errorf("unable to attach to the provider: %w", err)
		}
		p.provider = conn
		entry.Addr.Network, entry.Addr.String = "unix", socket
		told[source] = entry
	}
	if p.provider == nil {
		return nil, "", errors.New("the provider tells no address to attach to")
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("unix", socket) //nolint:noctx // it listens for as long as the proxy lives
	if err != nil {
		return nil, "", fmt.Errorf("unable to listen for Terraform: %w", err)
	}
	p.server = grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(p.handle), grpc.MaxRecvMsgSize(largest), grpc.MaxSendMsgSize(largest))
	go func() { _ = p.server.Serve(listener) }() // it ends with close
	return p, string(text), nil
}

// largest message: schemas are large.
const largest = 256 << 20

func (p *proxy) close() {
	p.server.Stop()
	_ = p.provider.Close() // nobody uses it any more
}

// taken gives the calls of the provider's own service.
func (p *proxy) taken() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

func (p *proxy) handle(_ any, terraform grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(terraform)
	began := time.Since(p.start)
	ctx, cancel := context.WithCancel(terraform.Context())
	defer cancel()
	if incoming, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, incoming)
	}
	provider, err := p.provider.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, full)
	if err != nil {
		return err
	}
	first := make(chan []byte, 1)
	go func() {
		defer close(first)
		for i := 0; ; i++ {
			var message []byte
			if err := terraform.RecvMsg(&message); err != nil {
				_ = provider.CloseSend() // the provider's answer tells what is wrong
				return
			}
			if i == 0 {
				first <- message
			}
			if provider.SendMsg(&message) != nil {
				return
			}
		}
	}()
	err = handOn(provider, terraform)
	if service, method, ok := strings.Cut(strings.TrimPrefix(full, "/"), "/"); ok && strings.HasPrefix(service, "tfplugin") {
		p.note(call{Method: method, Type: typeName(method, <-first), Begin: began.Seconds(), End: time.Since(p.start).Seconds()})
	}
	return err
}

func (p *proxy) note(c call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c)
}

// handOn gives the provider's messages to Terraform.
func handOn(provider grpc.ClientStream, terraform grpc.ServerStream) error {
	for {
		var message []byte
		err := provider.RecvMsg(&message)
		if err != nil {
			terraform.SetTrailer(provider.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := terraform.SendMsg(&message); err != nil {
			return err
		}
	}
}

// typeName reads the kind of resource from a request: field 1 of every message about one resource.
func typeName(method string, message []byte) string {
	if !strings.Contains(method, "Resource") && !strings.Contains(method, "DataSource") {
		return ""
	}
	number, kind, n := protowire.ConsumeTag(message)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return ""
	}
	name, n := protowire.ConsumeString(message[n:])
	if n < 0 {
		return ""
	}
	return name
}

// rawCodec leaves messages as they are.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

// Name is the codec's name in the protocol: what is handed on is protobuf.
func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(*[]byte)
	if !ok {
		return nil, status.Errorf(codes.Internal, "unable to hand on a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*message)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return status.Errorf(codes.Internal, "unable to hand on a %T", v)
	}
	*message = data.Materialize()
	return nil
}
