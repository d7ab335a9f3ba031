package network

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// LogTo has every call of a node's logged: of whom what was asked, how long it took and how it ended. What
// was said is never logged. To be called before anything else.
func (f *Fabric) LogTo(log *slog.Logger) *Fabric {
	f.log = log
	return f
}

// loggedTransport logs the REST calls of a CA, and of a node's participation API and operations endpoint.
type loggedTransport struct {
	*http.Transport
	log *slog.Logger
}

// RoundTrip implements http.RoundTripper.
func (l loggedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	begun := time.Now()
	response, err := l.Transport.RoundTrip(request)
	var outcome slog.Attr
	if err != nil {
		outcome = slog.String("error", err.Error())
	} else {
		outcome = slog.Int("status", response.StatusCode)
	}
	l.log.DebugContext(request.Context(), request.Method+" "+request.URL.Path, "node", request.URL.Host, took(begun), outcome)
	return response, err
}

// logged gives the interceptors that log the gRPC calls of a peer or an ordering node. Of a stream its
// beginning is logged.
func (f *Fabric) logged() []grpc.DialOption {
	ended := func(ctx context.Context, method, node string, begun time.Time, err error) {
		f.log.DebugContext(ctx, method, "node", node, took(begun), "code", status.Code(err).String())
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			begun := time.Now()
			err := invoke(ctx, method, request, reply, conn, options...)
			ended(ctx, method, conn.Target(), begun, err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			begun := time.Now()
			stream, err := open(ctx, desc, conn, method, options...)
			ended(ctx, method, conn.Target(), begun, err)
			return stream, err
		}),
	}
}

func took(begun time.Time) slog.Attr {
	return slog.String("took", time.Since(begun).Round(time.Millisecond).String())
}
