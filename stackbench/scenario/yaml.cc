#include "stackbench/scenario/yaml.h"

#include <map>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <libfyaml.h>

#include "base/diagnostics.h"

namespace stackbench {
namespace {

constexpr std::size_t max_alias_bytes = std::size_t{8} << 20;

// How much a text may ask of us.
struct Limits {
  std::size_t bytes = 0;
  int depth = 0;
  std::size_t nodes = 0;
  std::size_t key_bytes = 0;
  bool several = false;  // documents
};
constexpr Limits of_one{
    .bytes = yaml_size_limit, .depth = 32, .nodes = 20'000, .key_bytes = 128, .several = false};
constexpr Limits of_stream{.bytes = yaml_stream_size_limit,
                           .depth = 64,
                           .nodes = 200'000,
                           .key_bytes = 512,
                           .several = true};

struct DiagDestroy {
  void operator()(fy_diag* diag) const { ::fy_diag_destroy(diag); }
};
struct ParserDestroy {
  void operator()(fy_parser* parser) const { ::fy_parser_destroy(parser); }
};
struct EventFree {
  fy_parser* parser;
  void operator()(fy_event* event) const { ::fy_parser_event_free(parser, event); }
};
using EventPtr = std::unique_ptr<fy_event, EventFree>;

std::string text_of(fy_token* token) {
  std::size_t size = 0;
  const char* text = token != nullptr ? ::fy_token_get_text(token, &size) : nullptr;
  return text != nullptr ? std::string(text, size) : std::string();
}

// libfyaml reads invalid bytes as the end of the text, without a word, and NULs likewise: what
// follows would be dropped silently. They are found beforehand.
std::optional<YamlFault> unreadable_byte(std::string_view text, int origin) {
  Place place{.origin = origin};
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto length = base::utf8_length(text.substr(i));
    if (length == 0) return YamlFault{place, fmt::format("the byte 0x{:02x} is not UTF-8", byte)};
    const bool blank = byte == '\n' || byte == '\r' || byte == '\t';
    if ((byte < 0x20 && !blank) || byte == 0x7F) {
      return YamlFault{place, fmt::format("the control character 0x{:02x} is not allowed", byte)};
    }
    if (byte == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
    i += length;
  }
  return std::nullopt;
}

class Builder {
 public:
  Builder(fy_parser* parser, int origin, const Limits& limits, YamlStream& stream)
      : parser_(parser),
        origin_(origin),
        limits_(limits),
        stream_(stream),
        event_(nullptr, {parser}) {}

  // Reads the whole stream. False: stopped at a fault.
  bool build() {
    bool seen = false;
    while (next()) {
      switch (event_->type) {
        case FYET_STREAM_END:
          return true;
        case FYET_STREAM_START:
        case FYET_DOCUMENT_END:
          break;
        case FYET_DOCUMENT_START:
          if (seen && !limits_.several) {
            fault(place(), "a second document begins here; expected one only");
            return true;
          }
          seen = true;
          anchors_.clear();
          break;
        default: {
          YamlNode root;
          if (!node(root, 0)) return false;
          if (!limits_.several || !root.is_nothing()) stream_.documents.push_back(std::move(root));
        }
      }
    }
    return false;
  }

 private:
  bool next() {
    event_ = EventPtr(::fy_parser_parse(parser_), EventFree{parser_});
    return event_ != nullptr;
  }

  // Where the current event begins. An empty value has no mark: it gets the place of what was read
  // before it.
  Place place() {
    if (const auto* mark = ::fy_event_start_mark(event_.get())) {
      last_ = {.origin = origin_, .line = mark->line + 1, .column = mark->column + 1};
      // The mark of a quoted scalar is behind its quote.
      if (event_->type == FYET_SCALAR && quoted() && last_.column > 1) --last_.column;
    }
    return last_;
  }

  bool quoted() {
    auto* token = ::fy_event_get_token(event_.get());
    const auto style = token != nullptr ? ::fy_scalar_token_get_style(token) : FYSS_PLAIN;
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
  }

  void fault(const Place& at, std::string message) {
    stream_.faults.push_back({at, std::move(message)});
  }

  // Reads the node that begins with the current event. False: stop, a fault was recorded or the
  // parser failed.
  bool node(YamlNode& into, int depth) {
    into.place = place();
    if (++nodes_ > limits_.nodes) {
      fault(into.place, fmt::format("too many values: more than {}", limits_.nodes));
      return false;
    }
    if (depth > limits_.depth) {
      fault(into.place, fmt::format("nested too deeply: more than {} levels", limits_.depth));
      return false;
    }
    if (::fy_event_get_tag_token(event_.get()) != nullptr) {
      fault(into.place,
            "tags such as !!str have no place here; quote text that looks like a number");
    }
    const auto anchor = text_of(::fy_event_get_anchor_token(event_.get()));
    bool whole = true;
    switch (event_->type) {
      case FYET_ALIAS:
        return alias(into);
      case FYET_SEQUENCE_START:
        whole = list(into, depth);
        break;
      case FYET_MAPPING_START:
        whole = map(into, depth);
        break;
      default:
        scalar(into);
    }
    if (whole && !anchor.empty()) anchors_.insert_or_assign(anchor, into);
    return whole;
  }

  void scalar(YamlNode& into) {
    auto* token = ::fy_event_get_token(event_.get());
    into.kind = YamlNode::Kind::scalar;
    into.text = text_of(token);
    into.plain = token == nullptr || ::fy_scalar_token_get_style(token) == FYSS_PLAIN;
  }

  bool list(YamlNode& into, int depth) {
    into.kind = YamlNode::Kind::list;
    while (next()) {
      if (event_->type == FYET_SEQUENCE_END) return true;
      if (!node(into.items.emplace_back(), depth + 1)) return false;
    }
    return false;
  }

  bool map(YamlNode& into, int depth) {
    into.kind = YamlNode::Kind::map;
    while (next()) {
      if (event_->type == FYET_MAPPING_END) return true;
      YamlNode key;
      if (!node(key, depth + 1)) return false;
      if (key.kind != YamlNode::Kind::scalar) {
        fault(key.place, "a key must be a plain name, not a map or a list");
        key.text.clear();
      }
      if (key.text.size() > limits_.key_bytes) {
        fault(key.place, fmt::format("a name of more than {} bytes", limits_.key_bytes));
        key.text.resize(limits_.key_bytes);
      }
      auto& entry =
          into.entries.emplace_back(YamlEntry{std::move(key.text), key.plain, key.place, {}});
      if (!next() || !node(entry.value, depth + 1)) return false;
    }
    return false;
  }

  // Aliases are copied, and every copy counts, so that ten lines cannot stand for a billion.
  bool alias(YamlNode& into) {
    const auto name = text_of(::fy_event_get_token(event_.get()));
    const auto found = anchors_.find(name);
    if (found == anchors_.end()) {
      fault(into.place, fmt::format("the alias *{} names no anchor above it", name));
      return true;
    }
    const auto at = into.place;
    if (!affordable(found->second)) {
      fault(at, "aliases that stand for too much: write the values out");
      return false;
    }
    into = found->second;
    into.place = at;
    return true;
  }

  bool affordable(const YamlNode& copied) {
    alias_bytes_ += sizeof(YamlEntry) + copied.text.size();
    if (++nodes_ > limits_.nodes || alias_bytes_ > max_alias_bytes) return false;
    for (const auto& item : copied.items) {
      if (!affordable(item)) return false;
    }
    for (const auto& entry : copied.entries) {
      alias_bytes_ += entry.key.size();
      if (!affordable(entry.value)) return false;
    }
    return true;
  }

  fy_parser* parser_;
  int origin_;
  const Limits& limits_;
  YamlStream& stream_;
  EventPtr event_;
  Place last_;
  std::size_t nodes_ = 0;
  std::size_t alias_bytes_ = 0;
  std::map<std::string, YamlNode> anchors_;
};

YamlStream read_stream(std::string_view text, int origin, const Limits& limits) {
  YamlStream stream;
  const auto fault_at = [&](Place place, std::string message) {
    place.origin = origin;
    stream.faults.push_back({place, std::move(message)});
  };
  if (text.size() > limits.bytes) {
    fault_at({},
             fmt::format("too large: {} bytes, expected at most {}", text.size(), limits.bytes));
    return stream;
  }
  if (auto fault = unreadable_byte(text, origin)) {
    stream.faults.push_back(std::move(*fault));
    return stream;
  }
  fy_diag_cfg diag_config{};
  ::fy_diag_cfg_default(&diag_config);
  diag_config.fp = nullptr;
  diag_config.output_fn = [](fy_diag*, void*, const char*, std::size_t) {};
  const std::unique_ptr<fy_diag, DiagDestroy> diag(::fy_diag_create(&diag_config));
  if (diag == nullptr) {
    fault_at({}, "no memory for the YAML parser");
    return stream;
  }
  ::fy_diag_set_collect_errors(diag.get(), true);
  fy_parse_cfg config{};
  // A C enumeration whose values are bits to be combined.
  // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange)
  config.flags = static_cast<fy_parse_cfg_flags>(FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 |
                                                 FYPCF_JSON_NONE);
  config.diag = diag.get();
  const std::unique_ptr<fy_parser, ParserDestroy> parser(::fy_parser_create(&config));
  if (parser == nullptr || ::fy_parser_set_string(parser.get(), text.data(), text.size()) != 0) {
    fault_at({}, "no memory for the YAML parser");
    return stream;
  }
  const bool whole = Builder(parser.get(), origin, limits, stream).build();
  if (!whole && !limits.several) stream.documents.clear();
  // One broken place makes the parser complain again and again: its first complaint is the one. It
  // may complain and still go on, of a directive it does not know.
  void* position = nullptr;
  if (const auto* error = ::fy_diag_errors_iterate(diag.get(), &position)) {
    fault_at({.line = error->line, .column = error->column},
             fmt::format("not YAML: {}", error->msg));
  } else if (!whole && stream.faults.empty()) {
    fault_at({}, "not YAML");
  }
  return stream;
}

}  // namespace

bool YamlNode::is_nothing() const {
  return kind == Kind::scalar && plain && (text.empty() || text == "~" || text == "null");
}

YamlEntry* YamlNode::find(std::string_view key) {
  for (auto& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

const YamlEntry* YamlNode::find(std::string_view key) const {
  return const_cast<YamlNode*>(this)->find(key);
}

YamlDocument parse_yaml(std::string_view text, int origin) {
  auto stream = read_stream(text, origin, of_one);
  YamlDocument document{.root = {}, .faults = std::move(stream.faults)};
  if (!stream.documents.empty()) document.root = std::move(stream.documents.front());
  return document;
}

YamlStream parse_yaml_stream(std::string_view text, int origin) {
  return read_stream(text, origin, of_stream);
}

}  // namespace stackbench
