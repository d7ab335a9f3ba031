// Package ca speaks with Fabric CA servers and renders their configuration.
//
// Source: Fabric CA documentation, "Fabric CA User's Guide", and the server's REST API as its
// swagger file describes it (fabric-ca, swagger/swagger-fabric-ca.json). What the documents leave
// open was read in fabric-ca v1.5.13, lib/.
package ca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// maxAnswer bounds what is read of an answer. A list of 10 000 certificates has 10 MB.
const maxAnswer = 64 << 20

// Client calls one CA of one Fabric CA server. It is safe for use by several goroutines. Every
// method takes a context, sends one request (Register may ask once more to explain a refusal) and
// does not retry.
type Client struct {
	base   string
	caName string
	http   *http.Client
}

// NewClient gives a client of the CA of that name behind the address, for example
// "https://ca.org1.example.com:7054". The empty name is the server's first CA. How the server is
// reached and trusted is the HTTP client's matter; keep one per server, as each holds connections.
func NewClient(address, caName string, httpClient *http.Client) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("unable to use the Fabric CA address %q: it must be like https://host:7054", address)
	}
	if httpClient == nil {
		return nil, errors.New("unable to use a Fabric CA without an HTTP client")
	}
	return &Client{base: u.Scheme + "://" + u.Host, caName: caName, http: httpClient}, nil
}

// CAName is the name of the CA that the client calls; empty for the server's first one.
func (c *Client) CAName() string { return c.caName }

func (c *Client) String() string {
	if c.caName == "" {
		return "the CA at " + c.base
	}
	return "the CA " + c.caName + " at " + c.base
}

// Info is what a CA says of itself without authentication.
type Info struct {
	CAName string
	// Chain is the CA's certificate and those above it, in PEM.
	Chain []byte
	// Version is that of the server, for example "v1.5.13".
	Version string
}

// Info asks the CA for its name, chain and version (GET /api/v1/cainfo). It succeeds only when the
// CA has its database and its keys, so it is also the sign that a starting server is ready.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	var out infoAnswer
	if err := c.call(ctx, request{method: http.MethodGet, path: "cainfo", out: &out}); err != nil {
		return nil, fmt.Errorf("unable to read the information of %s: %w", c, err)
	}
	return out.info(), nil
}

type infoAnswer struct {
	CAName  string
	CAChain []byte
	Version string
}

func (a infoAnswer) info() *Info {
	return &Info{CAName: a.CAName, Chain: a.CAChain, Version: a.Version}
}

// request is one call. Exactly one of by, and user with secret, authenticates it, or none.
type request struct {
	method string
	// path is below /api/v1/, its segments escaped.
	path  string
	query url.Values
	// in is the body, nil for none.
	in, out      any
	by           *certificate.KeyPair
	user, secret string
}

func (c *Client) call(ctx context.Context, r request) error {
	var body []byte
	if r.in != nil {
		var err error
		if body, err = json.Marshal(r.in); err != nil {
			return fmt.Errorf("unable to encode the request: %w", err)
		}
	}
	query := url.Values{}
	for k, v := range r.query {
		query[k] = v
	}
	if c.caName != "" {
		query.Set("ca", c.caName)
	}
	target := c.base + "/api/v1/" + r.path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("unable to make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	switch {
	case r.by != nil:
		value, err := token(r.by, r.method, req.URL.RequestURI(), body)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", value)
	case r.user != "":
		req.SetBasicAuth(r.user, r.secret)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("unable to read the answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("unable to read the answer: it is larger than %d bytes", maxAnswer)
	}
	return decode(resp.StatusCode, raw, r.out)
}

// decode reads the envelope that every answer of the API has.
func decode(status int, raw []byte, out any) error {
	var envelope struct {
		Success *bool           `json:"success"`
		Result  json.RawMessage `json:"result"`
		Errors  []struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(raw, &envelope); err != nil || envelope.Success == nil {
		return fmt.Errorf("unable to understand the answer: it has HTTP status %d and is not one of a Fabric CA", status)
	}
	if !*envelope.Success {
		if len(envelope.Errors) == 0 {
			return newError(status, codeUnknown, "no reason given")
		}
		return newError(status, envelope.Errors[0].Code, envelope.Errors[0].Message)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(envelope.Result, out); err != nil {
		return fmt.Errorf("unable to understand the answer: %w", err)
	}
	return nil
}

// token signs a request as fabric-ca's util.GenECDSAToken does: the certificate, and a signature of
// method, URI, body and certificate by its key.
func token(by *certificate.KeyPair, method, uri string, body []byte) (string, error) {
	key, ok := by.Key.(*ecdsa.PrivateKey)
	if !ok {
		return "", fmt.Errorf("unable to sign the request: the key is %T and Fabric CA wants ECDSA", by.Key)
	}
	encode := base64.StdEncoding.EncodeToString
	cert := encode(by.CertificatePEM())
	digest := sha256.Sum256([]byte(method + "." + encode([]byte(uri)) + "." + encode(body) + "." + cert))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", fmt.Errorf("unable to sign the request: %w", err)
	}
	if half := new(big.Int).Rsh(key.Params().N, 1); s.Cmp(half) > 0 {
		s.Sub(key.Params().N, s)
	}
	signature, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		return "", fmt.Errorf("unable to sign the request: %w", err)
	}
	return cert + "." + encode(signature), nil
}
