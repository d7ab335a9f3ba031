package provider

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

// Names that become engine objects and host names.
var (
	objectName = stringvalidator.All(
		stringvalidator.LengthBetween(1, 63),
		stringvalidator.RegexMatches(regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`), "must begin with a letter or digit and hold only letters, digits, `_`, `.` and `-`"),
	)
	nodeName = stringvalidator.All(
		stringvalidator.LengthBetween(1, 63),
		stringvalidator.RegexMatches(regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`), "must be a host name in lower case: letters, digits and `-`, in parts divided by `.`"),
	)
	domainName = stringvalidator.All(
		stringvalidator.LengthAtMost(180),
		stringvalidator.RegexMatches(regexp.MustCompile(`^$|^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`), "must be a domain in lower case: letters, digits and `-`, in parts divided by `.`"),
	)
)

// check is a validator of a string by a function that says what is wrong with it.
type check struct {
	wants, summary string
	problem        func(string) error
}

func (c check) Description(context.Context) string         { return c.wants }
func (c check) MarkdownDescription(context.Context) string { return c.wants }

func (c check) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := c.problem(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, c.summary, sentence(err))
	}
}

// Addresses.
var (
	ipAddress = check{wants: "an IP address", summary: "Not an IP address", problem: func(s string) error {
		_, err := netip.ParseAddr(s)
		return err
	}}
	hostName = check{wants: "a host name or an IP address", summary: "Not a host name", problem: validHost}
	hostPort = check{wants: "host:port", summary: "Not an address", problem: func(s string) error {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return err
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return &net.AddrError{Err: "the port is not between 1 and 65535", Addr: s}
		}
		return validHost(host)
	}}
)

var hostPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*$`)

func validHost(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if len(s) > 253 || !hostPattern.MatchString(s) {
		return &net.AddrError{Err: "neither a host name nor an IP address", Addr: s}
	}
	return nil
}
