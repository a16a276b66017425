package http

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/coppice-vm/coppice/api"
)

// newHuma returns what reads and documents typed requests. It serves nothing by itself.
func newHuma(router chi.Router, version string) huma.API {
	config := huma.DefaultConfig("coppice", version)
	config.Info.Description = "Virtual machines as durable objects. The contract is that of the npm client freestyle 0.1.63; " +
		"what of it is not listed here answers 501 SERVICE_UNAVAILABLE."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema members in answers
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"apiKey":      {Type: "http", Scheme: "bearer", Description: "An account's"},
		"accessToken": {Type: "apiKey", In: "header", Name: api.HeaderAccessToken, Description: "An identity's"},
	}
	schemas := config.Components.Schemas
	schemas.RegisterTypeAlias(reflect.TypeFor[failure](), reflect.TypeFor[api.Error]())
	schemas.RegisterTypeAlias(reflect.TypeFor[api.IdleTimeout](), reflect.TypeFor[*float64]())
	return humachi.New(router, config)
}

// security says which secrets a route takes.
func security(who audience) []map[string][]string {
	key, token := map[string][]string{"apiKey": {}}, map[string][]string{"accessToken": {}}
	switch who {
	case owner, admin:
		return []map[string][]string{key}
	case holder, guestUser:
		return []map[string][]string{key, token}
	}
	return nil
}

// on returns the API with another router, so that its handlers are behind what
// the router puts before them.
func on(api huma.API, router chi.Router) huma.API { return routed{api, humachi.NewAdapter(router)} }

type routed struct {
	huma.API
	adapter huma.Adapter
}

func (r routed) Adapter() huma.Adapter { return r.adapter }

// operation finds an operation that has been registered.
func operation(doc *huma.OpenAPI, op huma.Operation) *huma.Operation {
	item := doc.Paths[op.Path]
	switch op.Method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	panic("no typed route has the method " + op.Method)
}

// describe serves the document.
func (s *Server) describe(w http.ResponseWriter, _ *http.Request, _ caller) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(s.openAPI)
	return err
}

// schemaOf returns the schema of a type, which is added to the document if need be.
func schemaOf[T any](s *Server) *huma.Schema {
	return s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

// documentPath gives the operation of a plain route the path and the
// parameters that huma would.
func documentPath(op *huma.Operation) {
	if rest, ok := strings.CutSuffix(op.Path, "*"); ok {
		op.Path = rest + "{filepath}"
	}
	for _, m := range pathParam.FindAllStringSubmatch(op.Path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
	}
	op.Responses = map[string]*huma.Response{}
}

func (s *Server) answers(op *huma.Operation, description string, content map[string]*huma.MediaType) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["200"] = &huma.Response{Description: description, Content: content}
	op.Responses["default"] = &huma.Response{Description: "Error", Content: jsonOf(schemaOf[api.Error](s))}
}

func jsonOf(schema *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: schema}}
}

// returnsJSON documents that an operation answers with a T.
func returnsJSON[T any]() func(*Server, *huma.Operation) {
	return func(s *Server, op *huma.Operation) { s.answers(op, "OK", jsonOf(schemaOf[T](s))) }
}

// returns documents that an operation answers with something of that type.
func returns(mediaType string) func(*Server, *huma.Operation) {
	return func(s *Server, op *huma.Operation) {
		s.answers(op, "OK", map[string]*huma.MediaType{mediaType: {}})
	}
}

// upgrades documents the WebSocket of an exec.
func upgrades(s *Server, op *huma.Operation) {
	op.Description = "The client's first message is text: {command, user?, dir?, env?, timeoutMs?}. Then both ends send binary messages whose " +
		"first byte says which stream the rest belongs to: 0 stdin, 1 stdout, 2 stderr. The client sends {\"type\":\"stdinClose\"} where " +
		"stdin ends. The server sends {\"type\":\"stdinAck\",\"bytes\":n} as the command takes its stdin: a client with at most 256 KiB not yet " +
		"acknowledged is heard at once when it closes. The server ends with {\"type\":\"exit\",\"code\":n,\"timedOut\":false} or " +
		"{\"type\":\"error\",\"code\":\"...\",\"message\":\"...\"}. When the client closes, the command is killed."
	webSocket(s, op)
}

// connects documents the WebSocket of a forwarded port.
func connects(s *Server, op *huma.Operation) {
	op.Description = "Binary messages are the bytes, both ways; an empty text message says that its sender sends no more. The port is one on " +
		"which something in the guest listens, on its loopback too."
	webSocket(s, op)
}

// returnsPorts documents an answer about ports.
func returnsPorts(s *Server, op *huma.Operation) {
	returnsJSON[api.Ports]()(s, op)
	linuxUser(op)
}

// webSocket documents what all WebSockets in a guest have in common.
func webSocket(s *Server, op *huma.Operation) {
	s.answers(op, "", nil)
	delete(op.Responses, "200")
	op.Responses["101"] = &huma.Response{Description: "Switching Protocols"}
	linuxUser(op)
}

// returnsFile documents the reading of a file or directory.
func returnsFile(s *Server, op *huma.Operation) {
	op.Description = "The path is one segment, its slashes escaped. A relative one starts at the user's home. With Accept: " +
		"application/octet-stream a file comes as its bytes; a directory is JSON always."
	s.answers(op, "The file or directory", map[string]*huma.MediaType{
		"application/json": {Schema: &huma.Schema{OneOf: []*huma.Schema{
			schemaOf[api.FileContent](s), schemaOf[api.Directory](s),
		}}},
		"application/octet-stream": {Schema: bytesSchema()},
	})
	op.Responses["200"].Headers = map[string]*huma.Header{api.HeaderMode: modeHeader()}
	linuxUser(op)
}

// takesFile documents the writing of a file.
func takesFile(s *Server, op *huma.Operation) {
	op.Description = "The path is one segment, its slashes escaped. A relative one starts at the user's home. An old file keeps its mode and owner."
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json":         {Schema: schemaOf[api.FileContent](s)},
		"application/octet-stream": {Schema: bytesSchema()},
	}}
	s.answers(op, "The file has been replaced", jsonOf(schemaOf[api.Empty](s)))
	mode := modeHeader()
	mode.Name, mode.In = api.HeaderMode, "header"
	op.Parameters = append(op.Parameters, mode)
	linuxUser(op)
}

func bytesSchema() *huma.Schema { return &huma.Schema{Type: "string", Format: "binary"} }

func modeHeader() *huma.Param {
	return &huma.Param{Description: "Permission bits of the file, in octal", Schema: &huma.Schema{Type: "string", Pattern: "^[0-7]{1,4}$"}}
}

func linuxUser(op *huma.Operation) {
	op.Parameters = append(op.Parameters, &huma.Param{Name: api.HeaderLinuxUser, In: "header",
		Description: "User of the guest to act as; root if absent", Schema: &huma.Schema{Type: "string"}})
}
