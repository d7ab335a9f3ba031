// Package participation speaks the channel participation API of an ordering node: the REST calls by
// which a node joins, lists and leaves channels (what the osnadmin command does).
//
// Source: Fabric documentation, "Create a channel without a system channel", and the handlers in
// orderer/common/channelparticipation. The node's admin endpoint wants mutual TLS; the caller's
// http.Client brings it.
package participation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// What an ordering node answers that a caller decides on; test with errors.Is.
var (
	// ErrExists says that the node has joined the channel already (405 to a join). Whether it was
	// with the same block is for the caller to compare.
	ErrExists = errors.New("the channel exists on the ordering node")
	// ErrNotFound says that the node knows no such channel (404).
	ErrNotFound = errors.New("the channel is not on the ordering node")
	// ErrPendingRemoval says that a removal is under way (409).
	ErrPendingRemoval = errors.New("the channel is being removed from the ordering node")
	// ErrRemovalFailed says that the node gave up removing the channel; it stays in status failed.
	ErrRemovalFailed = errors.New("the ordering node failed to remove the channel")
)

// Consensus relations of a node to a channel.
const (
	// RelationConsenter is a member of the consenter set.
	RelationConsenter = "consenter"
	// RelationFollower pulls blocks but does not order.
	RelationFollower = "follower"
	// RelationConfigTracker only watches for being added.
	RelationConfigTracker = "config-tracker"
)

// Statuses of a node on a channel. None of them says that the channel has a leader.
const (
	// StatusActive is a node whose chain runs and has caught up with its join block.
	StatusActive = "active"
	// StatusOnboarding is a node that pulls the blocks up to its join block.
	StatusOnboarding = "onboarding"
	// StatusInactive is a node that stores no blocks; a removal in progress shows so.
	StatusInactive = "inactive"
	// StatusFailed is a node whose last operation on the channel failed.
	StatusFailed = "failed"
)

const (
	channelsPath = "/participation/v1/channels"
	// blockField is the one multipart field that a join request may hold.
	blockField = "config-block"
	// maxResponse bounds what is read of an answer; a list of thousands of channels fits.
	maxResponse = 4 << 20
	// removalDeadline bounds AwaitRemoved: removals were seen to take up to 2.7 s.
	removalDeadline = 2 * time.Minute
)

// Channel is a node's view of one channel.
type Channel struct {
	// Name is the channel name.
	Name string `json:"name"`
	// URL is the path of the channel in the API.
	URL string `json:"url"`
	// ConsensusRelation is one of the Relation constants; empty in a list.
	ConsensusRelation string `json:"consensusRelation"`
	// Status is one of the Status constants; empty in a list.
	Status string `json:"status"`
	// Height is the number of blocks that the node stores; zero in a list.
	Height uint64 `json:"height"`
	// System tells, in a list, that it is the system channel, of which Fabric 2 has at most one.
	System bool `json:"-"`
}

// Error is an answer of the ordering node other than success. It matches ErrExists, ErrNotFound or
// ErrPendingRemoval with errors.Is where it means that.
type Error struct {
	// Status is the HTTP status code.
	Status int
	// Message is the reason that the node gave.
	Message string

	meaning error
}

func (e *Error) Error() string {
	return fmt.Sprintf("the ordering node answered %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
}

// Unwrap gives the sentinel that the answer stands for, or nil.
func (e *Error) Unwrap() error { return e.meaning }

// Client calls one ordering node.
type Client struct {
	// BaseURL is the root of the node's admin endpoint, for example https://orderer0:7053.
	BaseURL string
	// HTTP carries the requests; its transport dials the node and shows the admin certificate.
	HTTP *http.Client
}

// Join makes the node join the channel of the given marshalled config block: its genesis block, or
// a later config block for a node that is added to a running channel. REST: POST
// /participation/v1/channels. A channel that the node has is ErrExists, one that it is still
// removing ErrPendingRemoval.
func (c *Client) Join(ctx context.Context, block []byte) (*Channel, error) {
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	file, err := writer.CreateFormFile(blockField, "config.block")
	if err == nil {
		_, err = file.Write(block)
	}
	if err == nil {
		err = writer.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("unable to join the channel: %w", err)
	}
	channel := &Channel{}
	err = c.call(ctx, request{
		method: http.MethodPost, contentType: writer.FormDataContentType(), body: &form, success: http.StatusCreated,
		meanings: map[int]error{http.StatusMethodNotAllowed: ErrExists, http.StatusConflict: ErrPendingRemoval},
	}, channel)
	if err != nil {
		return nil, fmt.Errorf("unable to join the channel: %w", err)
	}
	return channel, nil
}

// Get reads the node's view of one channel. REST: GET /participation/v1/channels/{name}.
// A channel that the node does not have is ErrNotFound.
func (c *Client) Get(ctx context.Context, name string) (*Channel, error) {
	channel := &Channel{}
	err := c.call(ctx, request{
		method: http.MethodGet, channel: name, success: http.StatusOK,
		meanings: map[int]error{http.StatusNotFound: ErrNotFound},
	}, channel)
	if err != nil {
		return nil, fmt.Errorf("unable to read channel %s: %w", name, err)
	}
	return channel, nil
}

// List gives name and URL of every channel of the node, the system channel first. REST: GET /participation/v1/channels.
func (c *Client) List(ctx context.Context) ([]Channel, error) {
	var list struct {
		SystemChannel *Channel  `json:"systemChannel"`
		Channels      []Channel `json:"channels"`
	}
	if err := c.call(ctx, request{method: http.MethodGet, success: http.StatusOK}, &list); err != nil {
		return nil, fmt.Errorf("unable to list the channels: %w", err)
	}
	if list.SystemChannel != nil {
		list.SystemChannel.System = true
		list.Channels = slices.Insert(list.Channels, 0, *list.SystemChannel)
	}
	return list.Channels, nil
}

// Remove starts the removal of the channel and its blocks from the node; AwaitRemoved tells when it
// is done. REST: DELETE /participation/v1/channels/{name}. A channel that the node does not have is
// ErrNotFound, one whose removal is under way ErrPendingRemoval.
func (c *Client) Remove(ctx context.Context, name string) error {
	err := c.call(ctx, request{
		method: http.MethodDelete, channel: name, success: http.StatusNoContent,
		meanings: map[int]error{http.StatusNotFound: ErrNotFound, http.StatusConflict: ErrPendingRemoval},
	}, nil)
	if err != nil {
		return fmt.Errorf("unable to remove channel %s: %w", name, err)
	}
	return nil
}

// errStillThere keeps AwaitRemoved polling.
var errStillThere = errors.New("the channel is still on the ordering node")

// AwaitRemoved waits until the node no longer knows the channel, at most two minutes. A node that
// cannot be reached meanwhile is asked again. A removal that the node itself gave up is
// ErrRemovalFailed.
func (c *Client) AwaitRemoved(ctx context.Context, name string) error {
	policy := retry.Policy{
		InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second,
		MaxElapsed: removalDeadline, AttemptTimeout: 10 * time.Second,
		Retryable: func(err error) bool { return errors.Is(err, errStillThere) || retry.Transient(err) },
	}
	_, err := retry.Do(ctx, policy, func(ctx context.Context) (struct{}, error) {
		channel, err := c.Get(ctx, name)
		switch {
		case errors.Is(err, ErrNotFound):
			return struct{}{}, nil
		case err != nil:
			return struct{}{}, err
		case channel.Status == StatusFailed:
			return struct{}{}, ErrRemovalFailed
		default:
			return struct{}{}, fmt.Errorf("%w, with status %s", errStillThere, channel.Status)
		}
	})
	if err != nil {
		return fmt.Errorf("unable to see channel %s removed: %w", name, err)
	}
	return nil
}

type request struct {
	method, channel, contentType string
	body                         io.Reader
	success                      int
	// meanings maps the status codes that stand for a sentinel in this call: 405, for one, also
	// answers a method that the path does not have.
	meanings map[int]error
}

func (c *Client) call(ctx context.Context, r request, out any) error {
	address := strings.TrimSuffix(c.BaseURL, "/") + channelsPath
	if r.channel != "" {
		address += "/" + url.PathEscape(r.channel)
	}
	httpRequest, err := http.NewRequestWithContext(ctx, r.method, address, r.body)
	if err != nil {
		return err
	}
	httpRequest.Header.Set("Accept", "application/json")
	if r.contentType != "" {
		httpRequest.Header.Set("Content-Type", r.contentType)
	}
	response, err := c.HTTP.Do(httpRequest)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return fmt.Errorf("unable to read the answer of the ordering node: %w", err)
	}
	if response.StatusCode != r.success {
		return refusal(response, body, r.meanings)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("unable to understand the answer of the ordering node: %w", err)
	}
	return nil
}

// refusal makes an Error of an answer. A sentinel is attached only when the body is the API's own
// error document: a 404 of some other server at this address must not read as "no such channel".
func refusal(response *http.Response, body []byte, meanings map[int]error) error {
	answer := &Error{Status: response.StatusCode}
	var document struct {
		Error string `json:"error"`
	}
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if mediaType == "application/json" && json.Unmarshal(body, &document) == nil && document.Error != "" {
		answer.Message = document.Error
		answer.meaning = meanings[response.StatusCode]
		return answer
	}
	answer.Message = "not an answer of the channel participation API: " + excerpt(body)
	return answer
}

// excerpt is the start of a foreign answer, enough to recognise the server by.
func excerpt(body []byte) string {
	const limit = 200
	text := strings.TrimSpace(strings.ToValidUTF8(string(body), ""))
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	if text == "" {
		return "empty body"
	}
	return text
}
