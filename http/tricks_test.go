package http

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

// Whatever is done to a path, it leads to its route, or to none; never past the
// check of the key, never to an error of the server's own.
func TestPathTricks(t *testing.T) {
	h := newHarness(t)
	h.people.identity(alice, "ungranted")
	encoded := func(p string) string { return fmt.Sprintf("/%%%02x%s", p[1], p[2:]) }
	tricks := map[string]func(string) string{
		"slash before":    func(p string) string { return "/" + p },
		"slashes doubled": func(p string) string { return strings.ReplaceAll(p, "/", "//") },
		"slash after":     func(p string) string { return p + "/" },
		"slashes after":   func(p string) string { return p + "//" },
		"NUL after":       func(p string) string { return p + "%00" },
		"NUL before":      func(p string) string { return "/%00" + p },
		"newline after":   func(p string) string { return p + "%0d%0aX:%20y" },
		"letter encoded":  encoded,
		"slash encoded":   func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%2f") },
		"up and down":     func(p string) string { return "/healthz/.." + p },
		"up encoded":      func(p string) string { return "/healthz/%2e%2e" + p },
		"up twice":        func(p string) string { return "/healthz/%252e%252e" + p },
		"up after":        func(p string) string { return p + "/%2e%2e" },
		"here":            func(p string) string { return "/." + p },
		"backslash":       func(p string) string { return strings.ReplaceAll(p, "/", "\\") },
		"parameters":      func(p string) string { return p + ";a=b" },
		"case":            strings.ToUpper,
		"not UTF-8":       func(p string) string { return p + "%ff%fe" },
		"absolute":        func(p string) string { return "http://elsewhere" + p },
		"very long":       func(p string) string { return p + "/" + strings.Repeat("a", 32<<10) },
	}
	for _, rt := range h.server.routes() {
		if lasts(rt) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(tricks)) {
			vm := h.vms.add(coppice.VM{})
			method, path := pathOf(rt, string(vm))
			request := method + " " + tricks[name](path) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
			stranger := h.raw(request + "\r\n")
			if rt.who != anyone && (stranger.status < 400 || stranger.status >= 500) {
				t.Errorf("%s %s, %s, without a key: %d %.200s", method, rt.path, name, stranger.status, stranger.body)
			}
			owner := h.raw(request + "Authorization: Bearer alice-key\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			if owner.status >= 500 && owner.status != 501 && (rt.id != "forward" || owner.status != 502) {
				t.Errorf("%s %s, %s: %d %.200s", method, rt.path, name, owner.status, owner.body)
			}
			if _, known := contractCodes(t)[owner.code()]; owner.status >= 400 && owner.header.Get("X-Freestyle-Trace-Id") != "" && !known {
				t.Errorf("%s %s, %s: %d and no code of the contract: %.200s", method, rt.path, name, owner.status, owner.body)
			}
			if name != "absolute" && rt.id == "deleteVM" {
				if _, err := h.vms.VM(t.Context(), alice, vm); err != nil {
					t.Errorf("%s %s, %s: the VM is gone: %v", method, rt.path, name, err)
				}
			}
		}
	}
}

// Headers that are to be read in two ways are read in one, the safe one, or not at all.
func TestHeaderTricks(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	const key = "Authorization: Bearer alice-key\r\n"
	for _, c := range []struct {
		what, line, headers, body string
		want                      []int // statuses; what net/http refuses itself is among them
	}{
		{"two keys, the first wrong", "GET /v1/vms", "Authorization: Bearer wrong\r\n" + key, "", []int{401}},
		{"two keys in one", "GET /v1/vms", "Authorization: Bearer wrong, Bearer alice-key\r\n", "", []int{401}},
		{"a key among spaces", "GET /v1/vms", "Authorization: Bearer  alice-key\r\n", "", []int{401}},
		{"a key as a token", "GET /v1/vms", "X-Freestyle-Identity-Access-Token: alice-key\r\n", "", []int{401}},
		{"a wrong key beside a token", "GET /v1/vms", "Authorization: Bearer wrong\r\nX-Freestyle-Identity-Access-Token: x\r\n", "", []int{401}},
		{"a key in a cookie", "GET /v1/vms", "Cookie: Authorization=Bearer alice-key\r\n", "", []int{401}},
		{"a key in the query", "GET /v1/vms?authorization=Bearer%20alice-key", "", "", []int{401}},
		{"a header with a space in its name", "GET /v1/vms", "Authorization : Bearer alice-key\r\n", "", []int{400}},
		{"a folded header", "GET /v1/vms", "Authorization: Bearer\r\n alice-key\r\n", "", []int{400, 401, 200}}, // one line, by the old rules
		{"a header without a colon", "GET /v1/vms", "nonsense\r\n" + key, "", []int{400}},
		{"a NUL in a header", "GET /v1/vms", "X-A: \x00\r\n" + key, "", []int{400}},
		{"another method", "GET /v1/vms/" + vm, "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n" + key, "", []int{200}},
		{"another path", "GET /healthz", "X-Original-URL: /v1/vms\r\nX-Rewrite-URL: /v1/vms\r\n", "", []int{200}},
		{"another host", "GET /healthz", "Host: y\r\n", "", []int{400}}, // a second one
		{"two lengths", "POST /v1/vms/" + vm + "/start", "Content-Length: 2\r\nContent-Length: 3\r\n" + key, "{} ", []int{400}},
		{"a negative length", "POST /v1/vms/" + vm + "/start", "Content-Length: -1\r\n" + key, "", []int{400}},
		{"a length with a sign", "POST /v1/vms/" + vm + "/start", "Content-Length: +2\r\n" + key, "{}", []int{400}},
		{"a length that is too large", "POST /v1/vms/" + vm + "/start", "Content-Length: 99999999999999999999\r\n" + key, "", []int{400}},
		{"no such coding", "POST /v1/vms/" + vm + "/start", "Transfer-Encoding: xchunked\r\n" + key, "0\r\n\r\n", []int{400, 501}},
		{"two codings", "POST /v1/vms/" + vm + "/start", "Transfer-Encoding: chunked, identity\r\n" + key, "0\r\n\r\n", []int{400, 501}},
		{"a chunk that is too large", "POST /v1/vms/" + vm + "/start", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n" + key, "fffffffffffffffff\r\n{}", []int{400}},
		{"a compressed body", "POST /v1/vms/" + vm + "/exec-await", "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n" + key, "\x1f\x8b", []int{400}},
		{"an expectation", "POST /v1/vms/" + vm + "/start", "Expect: the-unexpected\r\nContent-Length: 0\r\n" + key, "", []int{417}},
		{"many headers", "GET /v1/vms", strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100) + key, "", []int{431}},
		{"a user with a newline", "GET /v1/vms/" + vm + "/files/x", "X-Freestyle-Vm-Linux-User-Id: a\nb\r\n" + key, "", []int{400}},
		{"a user that is none", "GET /v1/vms/" + vm + "/files/x", "X-Freestyle-Vm-Linux-User-Id: ../../etc\r\n" + key, "", []int{400, 404}},
		{"a mode that is none", "PUT /v1/vms/" + vm + "/files/x", "X-Coppice-Mode: -1\r\nContent-Length: 0\r\n" + key, "", []int{400}},
		{"an upgrade to something else", "GET /v1/vms/" + vm + "/exec", "Connection: Upgrade\r\nUpgrade: h2c\r\n" + key, "", []int{426}},
		{"half an upgrade", "GET /v1/vms/" + vm + "/exec", "Upgrade: websocket\r\n" + key, "", []int{400, 426}},
		{"no version", "GET /healthz", "", "", []int{200}},
	} {
		request := c.line + " HTTP/1.1\r\nHost: x\r\n" + c.headers + "Connection: close\r\n\r\n" + c.body
		if strings.HasPrefix(c.headers, "Connection:") {
			request = strings.Replace(request, "Connection: close\r\n", "", 1)
		}
		a := h.raw(request)
		if !slices.Contains(c.want, a.status) {
			t.Errorf("%s: %d %.200s, want %v", c.what, a.status, a.body, c.want)
		}
	}

	// What follows a body by one reading of its length is no request of its own.
	smuggled := "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	conn := h.dial("POST /v1/vms/" + vm + "/stop HTTP/1.1\r\nHost: x\r\n" + key +
		fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(smuggled)) + smuggled)
	if all, err := io.ReadAll(conn); err != nil || strings.Count(string(all), "HTTP/1.1 200") != 1 {
		t.Errorf("a request inside another: %v, %s", err, all)
	}
	if vm, err := h.vms.VM(t.Context(), alice, coppice.VMID(vm)); err != nil || vm.Deleted() {
		t.Errorf("the VM: %+v, %v", vm, err)
	}
	if a := h.do("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("the server: %d", a.status)
	}
}

// A schema is what the document says of a value.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Required   []string          `json:"required"`
	Minimum    *float64          `json:"minimum"`
}

func (s schema) is(kind string) bool {
	return s.Type == kind || slices.Contains(list(s.Type), any(kind))
}

func list(v any) []any { l, _ := v.([]any); return l }

// A description is what of the document the tests below need.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct {
			Name   string `json:"name"`
			In     string `json:"in"`
			Schema schema `json:"schema"`
		} `json:"parameters"`
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		} `json:"requestBody"`
	} `json:"paths"`
	Components struct{ Schemas map[string]schema } `json:"components"`
}

func (d *description) resolve(s schema) schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return d.Components.Schemas[name]
	}
	return s
}

// A slot is a place in the JSON of a body for a value of some kind.
type slot struct {
	name   string
	schema schema
	wrap   func(value string) string // the whole body with that value
}

// slots lists the places in what s describes.
func (d *description) slots(s schema, name string, wrap func(string) string, deep int) []slot {
	s = d.resolve(s)
	all := []slot{{name, s, wrap}}
	if deep == 0 {
		return all
	}
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		all = append(all, d.slots(s.Properties[key], name+"."+key, func(v string) string {
			members := []string{fmt.Sprintf("%q:%s", key, v)}
			for _, other := range s.Required {
				if other != key {
					members = append(members, fmt.Sprintf("%q:%q", other, "x"))
				}
			}
			return wrap("{" + strings.Join(members, ",") + "}")
		}, deep-1)...)
	}
	if s.Items != nil {
		all = append(all, d.slots(*s.Items, name+"[]", func(v string) string { return wrap("[" + v + "]") }, deep-1)...)
	}
	return all
}

// bodies calls try for every operation that takes JSON; path is one of another VM each time.
func (h *harness) bodies(try func(method string, path func() string, slots []slot)) {
	h.t.Helper()
	var d description
	if err := json.Unmarshal(h.server.openAPI, &d); err != nil {
		h.t.Fatal(err)
	}
	tried := 0
	for _, rt := range h.server.routes() {
		body := d.Paths[rt.path][strings.ToLower(rt.method)].RequestBody.Content["application/json"]
		if body.Schema.Ref == "" {
			continue
		}
		tried++
		path := func() string {
			_, path := pathOf(rt, string(h.vms.add(coppice.VM{})))
			return path
		}
		try(rt.method, path, d.slots(body.Schema, "body", func(v string) string { return v }, 4))
	}
	if tried < 10 {
		h.t.Errorf("only %d operations take JSON", tried)
	}
}

// No number is taken for another one, and none does any harm.
func TestNumbers(t *testing.T) {
	h := newHarness(t)
	h.people.identity(alice, "ungranted")
	tried := 0
	h.bodies(func(method string, path func() string, slots []slot) {
		for _, s := range slots {
			if !s.schema.is("integer") && !s.schema.is("number") {
				continue
			}
			tried++
			for value, never := range map[string]bool{
				"-1": s.schema.Minimum != nil && *s.schema.Minimum >= 0, "-9223372036854775809": s.schema.is("integer"), "9223372036854775807": false, "9223372036854775808": s.schema.is("integer"), "1e400": true,
				"-1e400": true, "1.5": s.schema.is("integer"), "NaN": true, "Infinity": true, "0x10": true, "010": true, "1_0": true, `"1"`: true, "true": true, "[1]": true, `{"a":1}`: true, "-0": false, "1e2": false,
			} {
				a := h.do(method, path(), s.wrap(value))
				if a.status >= 500 && a.status != 501 || never && a.status < 400 {
					t.Errorf("%s %s with %s as %s: %d %.300s", method, path(), value, s.name, a.status, a.body)
				}
			}
		}
	})
	if tried < 10 {
		t.Errorf("only %d numbers were found", tried)
	}
	var d description
	if err := json.Unmarshal(h.server.openAPI, &d); err != nil {
		t.Fatal(err)
	}
	for _, rt := range h.server.routes() {
		for _, p := range d.Paths[rt.path][strings.ToLower(rt.method)].Parameters {
			if p.In != "query" || !p.Schema.is("integer") || lasts(rt) {
				continue
			}
			for _, value := range []string{"-1", "9223372036854775808", "1.5", "NaN", "x", "1e3", "0x1", "%00", "1%201"} {
				method, path := pathOf(rt, string(h.vms.add(coppice.VM{})))
				if a := h.do(method, path+"?"+p.Name+"="+value, ""); a.status != 400 && a.status != 426 {
					t.Errorf("%s %s with %s=%s: %d %.300s", method, path, p.Name, value, a.status, a.body)
				}
			}
		}
	}
}

// JSON of any depth is refused or ignored, on every route and in every place.
func TestJSONDepth(t *testing.T) {
	h := newHarness(t)
	h.people.identity(alice, "ungranted")
	const deep = 200_000
	for name, value := range map[string]string{
		"lists":          strings.Repeat("[", deep) + strings.Repeat("]", deep),
		"objects":        strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep),
		"open lists":     strings.Repeat("[", deep),
		"many members":   "{" + strings.TrimSuffix(strings.Repeat(`"a":1,`, deep/2), ",") + "}",
		"a long number":  strings.Repeat("1", deep),
		"a long decimal": "1." + strings.Repeat("1", deep) + "e-1",
	} {
		h.bodies(func(method string, path func() string, slots []slot) {
			for _, s := range slots[:min(2, len(slots))] { // the body, and its first member
				if a := h.do(method, path(), s.wrap(value)); a.status >= 500 && a.status != 501 {
					t.Errorf("%s %s with %s as %s: %d %.300s", method, path(), name, s.name, a.status, a.body)
				}
			}
			if a := h.do(method, path(), `{"nobodyKnowsThis":`+value+`}`); a.status >= 500 && a.status != 501 {
				t.Errorf("%s %s with %s as an unknown member: %d %.300s", method, path(), name, a.status, a.body)
			}
		})
	}
}

// What nobody knows is ignored, as the contract wants it: the answer is the same.
func TestUnknownMembers(t *testing.T) {
	h := newHarness(t)
	h.people.identity(alice, "ungranted")
	h.bodies(func(method string, path func() string, slots []slot) {
		for _, known := range []string{"", `"name":"x"`, `"command":"true"`} {
			without := h.do(method, path(), "{"+known+"}")
			sep := ","
			if known == "" {
				sep = ""
			}
			for _, unknown := range []string{`"nobodyKnowsThis":1`, `"nobody":{"knows":[null,"this"]}`, `"__proto__":{"admin":true}`, `"":""`} {
				if with := h.do(method, path(), "{"+known+sep+unknown+"}"); with.status != without.status || with.code() != without.code() {
					t.Errorf("%s %s with %s and %s: %d %.200s; without: %d %.200s", method, path(), known, unknown, with.status, with.body, without.status, without.body)
				}
			}
		}
	})
}
