package ingress

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// A slogCore has what is logged by zap go to log/slog.
type slogCore struct{ log *slog.Logger }

// levelOf returns a level of zap's, whose steps are 1, as one of slog's, whose are 4.
func levelOf(l zapcore.Level) slog.Level { return slog.Level(l) * slog.LevelWarn }

func attributes(fields []zapcore.Field) []any {
	values := zapcore.NewMapObjectEncoder()
	var all []any
	for _, f := range fields {
		f.AddTo(values)
		if v, ok := values.Fields[f.Key]; ok {
			all = append(all, f.Key, v)
		}
	}
	return all
}

func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), levelOf(l))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attributes(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), levelOf(e.Level), e.Message, attributes(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }
