#include "migrations/definition/check.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/duration.pb.h"
#include "migrations/definition/parameters.h"
#include "migrations/definition/scalar_forms.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/definition/sql_rules.h"
#include "migrations/definition/text_rules.h"
#include "migrations/definition/yaml_fields.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;
using google::protobuf::Duration;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::RepeatedPtrField;

constexpr std::size_t kMostProblems = 50;
constexpr std::size_t kMostBytes = 256 * 1024;
constexpr std::size_t kMostSqlBytes = 64 * 1024;
constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kSecond = 1000 * kMillisecond;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int32_t kMostBatchRows = 10'000'000;
constexpr std::int32_t kDefaultMostBatchRows = 50'000;

std::string Item(const std::string& path, int index) { return absl::StrCat(path, "[", index, "]"); }

// Names of targets: what can stand in a flag, a metric label and before the '/' of `after`.
bool IsTargetName(const std::string& text) {
  return !text.empty() && text.size() <= 63 && absl::ascii_isalpha(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.'; });
}

bool IsLabelKey(const std::string& text) {
  return !text.empty() && text.size() <= 63 && absl::ascii_islower(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '-' || c == '.';
         });
}

// Names of native classes: also those of C++, as in `shop::backfill_scores`.
bool IsClassName(const std::string& text) {
  return !text.empty() && text.size() <= 100 && absl::ascii_isalpha(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == ':';
         });
}

// `Mon-Fri 22:00-06:00 Europe/Berlin`, days and zone optional. Only the form: what it means is for pacing.
bool IsWindow(const std::string& text) {
  static const auto* const kForm = new std::regex(
      "((Mon|Tue|Wed|Thu|Fri|Sat|Sun)([-,](Mon|Tue|Wed|Thu|Fri|Sat|Sun))* +)?"
      "([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)( +[A-Za-z0-9_+/-]+)?");
  return text.size() <= 100 && std::regex_match(text, *kForm);  // bounded: std::regex recurses once a character
}

class Checker {
 public:
  Checker(const v1::MigrationDefinition& definition, const std::function<bool(const std::string&)>& written)
      : written_(written) {
    result_.definition = definition;
  }

  DefinitionResult Run() {
    v1::MigrationDefinition& d = result_.definition;
    if (d.ByteSizeLong() > kMostBytes) {
      Problem("", absl::StrCat("the definition has ", d.ByteSizeLong(), " bytes; at most ", kMostBytes, " are taken"));
      return std::move(result_);
    }
    CheckWellFormed(d, "");
    // The rules below show values and compare texts: nothing for what is not even text.
    if (!result_.problems.empty()) return std::move(result_);
    CheckHead(d);
    CheckParameters(d);
    CheckKind(d);
    CheckPace(*d.mutable_pace());
    CheckRetry(*d.mutable_retry());
    CheckOrder(d);
    CheckPreflight(d);
    CheckSteps(d);
    CheckLabels(d);
    CheckTimeouts(d);
    return std::move(result_);
  }

 private:
  void Problem(const std::string& path, std::string message) {
    if (result_.problems.size() < kMostProblems) result_.problems.push_back({0, 0, path, std::move(message)});
  }

  bool AtMost(const std::string& path, int count, int most) {
    if (count > most) Problem(path, absl::StrCat("has ", count, " entries; at most ", most, " are possible"));
    return count <= most;
  }

  // Unset: the fallback. A zero that the file writes is a value like any other.
  std::int64_t Number(const std::string& path, std::int64_t value, std::int64_t lowest, std::int64_t highest,
                      std::int64_t fallback) {
    if (value == 0 && !written_(path)) return fallback;
    if (value < lowest || value > highest) {
      Problem(path, absl::StrCat(value, " is out of range; it must be from ", lowest, " to ", highest));
      return fallback;
    }
    return value;
  }

  // The duration in force. The caller assigns it to the very field, which is only touched after this was read.
  Duration Time(const std::string& path, bool given, const Duration& duration, std::int64_t lowest,
                std::int64_t highest, std::int64_t fallback) {
    if (!given) return DurationFromNanoseconds(fallback);
    const std::optional<std::int64_t> value = DurationNanoseconds(duration);
    if (value.has_value() && *value >= lowest && *value <= highest) return DurationFromNanoseconds(*value);
    Problem(path,
            absl::StrCat(value.has_value() && *value >= 0 ? DurationText(*value) : "the duration",
                         " is out of range; it must be from ", DurationText(lowest), " to ", DurationText(highest)));
    return DurationFromNanoseconds(fallback);
  }

  // Takes the rule's normalized text, or reports what it says.
  void Sql(const std::string& path, const absl::StatusOr<std::string>& checked, std::string& text) {
    if (text.size() > kMostSqlBytes) {
      Problem(path, absl::StrCat("has ", text.size(), " bytes; at most ", kMostSqlBytes, " are possible"));
    } else if (!checked.ok()) {
      Problem(path, std::string(checked.status().message()));
    } else {
      text = *checked;
    }
  }

  void NotServed(const std::string& path, std::string_view what) {
    Problem(path, absl::StrCat(std::string(what), " not served by this version yet; remove it"));
  }

  // Texts are UTF-8 without zero bytes, enums are known, and nothing comes from a newer version: what we do not know
  // might change the meaning of what we do.
  void CheckWellFormed(const Message& message, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (reflection.GetUnknownFields(message).field_count() > 0) {
      Problem(path, "holds fields that this version does not know; it was made for a newer migrationd");
    }
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      const std::string field_path = absl::StrCat(path, path.empty() ? "" : ".", YamlName(*field));
      if (!field->is_repeated()) {
        CheckValue(message, *field, -1, field_path);
        continue;
      }
      for (int i = 0; i < reflection.FieldSize(message, field); ++i)
        CheckValue(message, *field, i, Item(field_path, i));
    }
  }

  void CheckValue(const Message& message, const FieldDescriptor& field, int index, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      CheckWellFormed(
          index < 0 ? reflection.GetMessage(message, &field) : reflection.GetRepeatedMessage(message, &field, index),
          path);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      const std::string text =
          index < 0 ? reflection.GetString(message, &field) : reflection.GetRepeatedString(message, &field, index);
      if (text.find('\0') != std::string::npos || FindInvalidUtf8(text) != std::string::npos) {
        Problem(path, "holds a zero byte or text that is not UTF-8; write it as plain text");
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM &&
               field.enum_type()->FindValueByNumber(reflection.GetEnumValue(message, &field)) == nullptr) {
      Problem(path, absl::StrCat("is not known to this version; expected ",
                                 absl::StrJoin(YamlEnumWords(*field.enum_type()), " or ")));
    }
  }

  void CheckHead(v1::MigrationDefinition& d) {
    d.set_format(static_cast<std::int32_t>(Number("format", d.format(), 1, 1, 1)));
    if (CountCharacters(d.description()) > 1000) Problem("description", "is longer than 1,000 characters; shorten it");
    if (CountCharacters(d.milestone()) > 100) Problem("milestone", "is longer than 100 characters; shorten it");
    if (!d.target().empty() && !IsTargetName(d.target())) {
      Problem("target",
              absl::StrCat("'", Shown(d.target()),
                           "' is not the name of a target; it is a letter, then letters, digits, '_', '-' or '.'"));
    }
    d.set_priority(static_cast<std::int32_t>(Number("priority", d.priority(), -1000, 1000, 0)));
    result_.start_given = d.start() != v1::START_MODE_UNSPECIFIED;
    if (!result_.start_given) d.set_start(v1::START_MODE_AUTO);
    if (d.commit() == v1::COMMIT_MODE_UNSPECIFIED) d.set_commit(v1::COMMIT_MODE_ASYNC);
  }

  void CheckParameters(v1::MigrationDefinition& d) {
    if (!AtMost("parameters", d.parameters_size(), 32)) return;
    for (int i = 0; i < d.parameters_size(); ++i) {
      const v1::Parameter& parameter = d.parameters(i);
      const std::string path = Item("parameters", i);
      if (!IsPlainName(parameter.name())) {
        Problem(path + ".name",
                absl::StrCat("'", Shown(parameter.name()),
                             "' must begin with a letter a-z and hold only a-z, 0-9 and _, at most 63 of them"));
      } else if (!declared_.insert(parameter.name()).second) {
        Problem(path + ".name", absl::StrCat("'", parameter.name(), "' is declared twice; keep one of them"));
      }
      const std::vector<std::string>& types = ParameterTypes();
      if (std::find(types.begin(), types.end(), parameter.type()) == types.end()) {
        Problem(path + ".type",
                absl::StrCat("'", Shown(parameter.type()), "' is not a parameter's type; expected one of ",
                             absl::StrJoin(types, ", ")));
      } else if (parameter.has_default_()) {
        const absl::Status status = CheckParameterValue(parameter.type(), parameter.default_());
        if (!status.ok()) Problem(path + ".default", std::string(status.message()));
      }
    }
  }

  void CheckKind(v1::MigrationDefinition& d) {
    switch (d.kind_case()) {
      case v1::MigrationDefinition::kSqlBatch:
        CheckSqlBatch(*d.mutable_sql_batch());
        break;
      case v1::MigrationDefinition::kCopyColumns:
        CheckCopyColumns(*d.mutable_copy_columns());
        break;
      case v1::MigrationDefinition::kDeleteRows:
        CheckDeleteRows(*d.mutable_delete_rows());
        break;
      case v1::MigrationDefinition::kNative:
        CheckNative(*d.mutable_native());
        break;
      case v1::MigrationDefinition::KIND_NOT_SET:
        Problem("", "lacks a kind; write exactly one of sql_batch, copy_columns, delete_rows and native");
        return;
      default: {
        const FieldDescriptor* kind =
            d.GetReflection()->GetOneofFieldDescriptor(d, d.GetDescriptor()->FindOneofByName("kind"));
        Problem(YamlName(*kind), "this kind is not served by this version yet; use sql_batch, copy_columns, delete_rows or native");
        return;
      }
    }
    for (int i = 0; i < d.parameters_size(); ++i) {
      const std::string& name = d.parameters(i).name();
      if (declared_.count(name) == 0 || used_.count(name) > 0) continue;
      Problem(Item("parameters", i), d.has_native()
                                         ? "has no use here: a class reads its values from native.parameters; move it there"
                                         : absl::StrCat("{{param.", name, "}} is used nowhere in statement or where; remove it"));
    }
  }

  // Returns the parts, empty after a problem.
  std::vector<std::string> CheckTable(const std::string& path, std::string& table) {
    if (table.empty()) {
      Problem(path, "is missing; name the table, like public.builds");
      return {};
    }
    const absl::StatusOr<std::vector<std::string>> parts = ParseQualifiedName(table, 2);
    if (!parts.ok()) {
      Problem(path, std::string(parts.status().message()));
      return {};
    }
    std::vector<std::string> written;
    for (const std::string& part : *parts) written.push_back(WrittenIdentifier(part));
    table = absl::StrJoin(written, ".");
    return *parts;
  }

  void CheckColumn(const std::string& path, const std::string& column) {
    if (column.empty()) {
      Problem(path, "is missing; name a column");
    } else if (column[0] == '"') {
      Problem(path, "is a column's name as it is in the table; write it without SQL's quotes");
    } else if (column.size() > 63) {
      Problem(path, "is longer than the 63 bytes that PostgreSQL keeps of a name");
    }
  }

  void CheckKey(const std::string& path, const RepeatedPtrField<std::string>& key) {
    if (!AtMost(path, key.size(), 16)) return;
    std::set<std::string> seen;
    for (int i = 0; i < key.size(); ++i) {
      CheckColumn(Item(path, i), key[i]);
      if (!seen.insert(key[i]).second) Problem(Item(path, i), absl::StrCat("'", Shown(key[i]), "' is named twice"));
    }
  }

  void CheckBound(const std::string& path, const RepeatedPtrField<std::string>& bound, int key_columns) {
    if (bound.empty() || !AtMost(path, bound.size(), 16) || key_columns == 0 || bound.size() == key_columns) return;
    Problem(path, absl::StrCat("has ", bound.size(), " value", bound.size() == 1 ? "" : "s", ", but the key has ",
                               key_columns, " column", key_columns == 1 ? "" : "s", "; give one value for each"));
  }

  void CheckSqlBatch(v1::SqlBatch& batch) {
    const std::vector<std::string> table = CheckTable("sql_batch.table", *batch.mutable_table());
    if (batch.alias().empty()) {
      if (!table.empty()) batch.set_alias(WrittenIdentifier(table.back()));
    } else if (const auto alias = ParseQualifiedName(batch.alias(), 1); alias.ok()) {
      batch.set_alias(WrittenIdentifier(alias->front()));
    } else {
      Problem("sql_batch.alias", std::string(alias.status().message()));
    }
    CheckKey("sql_batch.key", batch.key());
    CheckBound("sql_batch.min_key", batch.min_key(), batch.key_size());
    CheckBound("sql_batch.max_key", batch.max_key(), batch.key_size());
    if (batch.strategy() == v1::STRATEGY_UNSPECIFIED) batch.set_strategy(v1::STRATEGY_KEYSET);
    CheckStrategy(batch);
    if (!batch.where().empty()) {
      Sql("sql_batch.where", CheckCondition(batch.where(), declared_, used_), *batch.mutable_where());
    }
    if (batch.statement().empty()) {
      Problem("sql_batch.statement",
              "is missing; write the statement that changes the rows, with {{batch}} as its condition");
    } else {
      Sql("sql_batch.statement", CheckChangeStatement(batch.statement(), declared_, used_), *batch.mutable_statement());
    }
    if (batch.on_unchanged() == v1::ON_UNCHANGED_UNSPECIFIED) batch.set_on_unchanged(v1::ON_UNCHANGED_HALT);
  }

  void CheckStrategy(const v1::SqlBatch& batch) {
    switch (batch.strategy()) {
      case v1::STRATEGY_KEYSET:
        return;
      case v1::STRATEGY_DISTINCT:
        if (batch.key_size() == 1) return;
        Problem(batch.key().empty() ? "sql_batch.strategy" : "sql_batch.key",
                "DISTINCT walks the values of one column; name that column as `key`, like [tenant_id]");
        return;
      case v1::STRATEGY_PHYSICAL:
        if (!batch.where().empty()) return;
        Problem("sql_batch.strategy",
                "PHYSICAL needs `where`, since a row that was changed has another place on disk and would be met again; "
                "name the rows that still need the work, or use KEYSET");
        return;
      default:
        Problem("sql_batch.strategy",
                absl::StrCat(static_cast<int>(batch.strategy()), " is no strategy; use KEYSET, DISTINCT or PHYSICAL"));
    }
  }

  // What still matches after its turn was kept by a trigger or a rule: HALTED with ROWS_LEFT.
  void CheckDeleteRows(v1::DeleteRows& rows) {
    CheckTable("delete_rows.table", *rows.mutable_table());
    CheckKey("delete_rows.key", rows.key());
    if (rows.where().empty()) {
      Problem("delete_rows.where", "is missing; name the rows to delete, like created_at < '2020-01-01'");
    } else {
      Sql("delete_rows.where", CheckCondition(rows.where(), declared_, used_), *rows.mutable_where());
    }
  }

  // What the class makes of its parameters is known only where it is registered; except `table`, which others need too.
  void CheckNative(v1::Native& native) {
    if (native.class_name().empty()) {
      Problem("native.class", "is missing; name a class that is registered in migrationd, like simhash_text");
    } else if (!IsClassName(native.class_name())) {
      Problem("native.class", absl::StrCat("'", Shown(native.class_name()),
                                           "' is not the name of a class; it is a letter, then letters, digits, '_', '-', '.' or ':'"));
    }
    if (!AtMost("native.parameters", native.parameters_size(), 100)) return;
    // In the order of the keys: a map has none of its own, and messages should not change from run to run.
    for (const auto& [key, value] : std::map<std::string, std::string>(native.parameters().begin(), native.parameters().end())) {
      const std::string path = absl::StrCat("native.parameters.", Shown(key));
      if (!IsPlainName(key)) {
        Problem(path, "is not a parameter's name; it must begin with a letter a-z and hold only a-z, 0-9 and _, at most 63 of them");
      }
      if (value.size() > kMostSqlBytes) {
        Problem(path, absl::StrCat("has ", value.size(), " bytes; at most ", kMostSqlBytes, " are possible"));
      }
    }
    std::string table = native.parameters().contains("table") ? native.parameters().at("table") : "";
    if (!CheckTable("native.parameters.table", table).empty()) (*native.mutable_parameters())["table"] = table;
  }

  void CheckCopyColumns(v1::CopyColumns& copy) {
    CheckTable("copy_columns.table", *copy.mutable_table());
    CheckKey("copy_columns.key", copy.key());
    if (copy.on_unchanged() == v1::ON_UNCHANGED_UNSPECIFIED) copy.set_on_unchanged(v1::ON_UNCHANGED_HALT);
    const std::string columns = "copy_columns.columns";
    if (copy.columns().empty())
      Problem(columns, "is missing; name at least one pair, like [{from: id, to: id_bigint}]");
    if (!AtMost(columns, copy.columns_size(), 100)) return;
    std::set<std::string> sources;
    for (const v1::ColumnCopy& column : copy.columns()) sources.insert(column.from());
    std::set<std::string> destinations;
    for (int i = 0; i < copy.columns_size(); ++i) {
      v1::ColumnCopy& column = *copy.mutable_columns(i);
      const std::string path = Item(columns, i);
      CheckColumn(path + ".from", column.from());
      CheckColumn(path + ".to", column.to());
      if (column.to().empty()) continue;
      if (column.from() == column.to()) {
        Problem(path + ".to", "is the same column as `from`; name another one");
      } else if (!destinations.insert(column.to()).second) {
        Problem(path + ".to", absl::StrCat("'", Shown(column.to()), "' is written twice; keep one of them"));
      } else if (sources.count(column.to()) > 0) {
        Problem(path + ".to", absl::StrCat("'", Shown(column.to()),
                                           "' is also a source; copy in two migrations, one `after` the other"));
      }
      if (!column.expression().empty()) {
        Sql(path + ".expression", CheckExpression(column.expression()), *column.mutable_expression());
      }
      const auto& key = copy.key();
      if (std::find(key.begin(), key.end(), column.to()) != key.end()) {
        Problem(path + ".to",
                absl::StrCat("'", Shown(column.to()), "' is part of the key, which must not change under way"));
      }
    }
  }

  void CheckPace(v1::Pace& pace) {
    const std::int64_t batch = Number("pace.batch_size", pace.batch_size(), 1, kMostBatchRows, 1000);
    pace.set_batch_size(static_cast<std::int32_t>(batch));
    const std::int64_t most = Number("pace.max_batch_size", pace.max_batch_size(), 1, kMostBatchRows,
                                     std::max<std::int64_t>(kDefaultMostBatchRows, batch));
    pace.set_max_batch_size(static_cast<std::int32_t>(most));
    if (batch > most) {
      Problem("pace.batch_size", absl::StrCat(batch, " is above max_batch_size ", most, "; lower it or raise that"));
    }
    const std::int64_t sub = Number("pace.sub_batch_size", pace.sub_batch_size(), 1, kMostBatchRows, 0);
    pace.set_sub_batch_size(static_cast<std::int32_t>(sub));
    if (sub > batch) Problem("pace.sub_batch_size", absl::StrCat(sub, " is above batch_size ", batch, "; lower it"));
    *pace.mutable_interval() =
        Time("pace.interval", pace.has_interval(), pace.interval(), 0, kHour, 100 * kMillisecond);
    pace.set_max_rows_per_second(Number("pace.max_rows_per_second", pace.max_rows_per_second(), 0, 1'000'000'000, 0));
    pace.set_lanes(static_cast<std::int32_t>(Number("pace.lanes", pace.lanes(), 1, 16, 1)));
    v1::Adaptive& adaptive = *pace.mutable_adaptive();
    if (!adaptive.has_enabled()) adaptive.set_enabled(true);
    *adaptive.mutable_target_sub_batch_time() =
        Time("pace.adaptive.target_sub_batch_time", adaptive.has_target_sub_batch_time(),
             adaptive.target_sub_batch_time(), 5 * kMillisecond, 10 * kSecond, 100 * kMillisecond);
    if (AtMost("pace.windows", pace.windows_size(), 50)) {
      for (int i = 0; i < pace.windows_size(); ++i) {
        if (IsWindow(pace.windows(i))) continue;
        Problem(Item("pace.windows", i), absl::StrCat("'", Shown(pace.windows(i)),
                                                      "' is not a window, like `Mon-Fri 22:00-06:00 Europe/Berlin`"));
      }
    }
    if (pace.has_finish_within()) NotServed("pace.finish_within", "a deadline is");
  }

  void CheckRetry(v1::RetryPolicy& retry) {
    retry.set_max_attempts(static_cast<std::int32_t>(Number("retry.max_attempts", retry.max_attempts(), 1, 1000, 3)));
    *retry.mutable_backoff() =
        Time("retry.backoff", retry.has_backoff(), retry.backoff(), 10 * kMillisecond, kHour, 5 * kSecond);
    const std::int64_t backoff = *DurationNanoseconds(retry.backoff());
    *retry.mutable_max_backoff() = Time("retry.max_backoff", retry.has_max_backoff(), retry.max_backoff(), backoff,
                                        24 * kHour, std::max(backoff, 5 * kMinute));
    if (!retry.has_max_failed_ranges()) retry.set_max_failed_ranges(100);
    if (retry.max_failed_ranges() < 0 || retry.max_failed_ranges() > 1'000'000) {
      Problem("retry.max_failed_ranges",
              absl::StrCat(retry.max_failed_ranges(), " is out of range; it must be from 0 to 1000000"));
    }
    if (!retry.has_max_failed_ratio()) retry.set_max_failed_ratio(0.1);
    if (!(retry.max_failed_ratio() >= 0 && retry.max_failed_ratio() <= 1)) {  // so that NaN is refused too
      Problem("retry.max_failed_ratio",
              absl::StrCat(retry.max_failed_ratio(), " is out of range; it must be from 0 to 1"));
    } else if (retry.max_failed_ratio() == 0) {
      retry.set_max_failed_ratio(0);  // -0 would have another digest
    }
  }

  void CheckOrder(v1::MigrationDefinition& d) {
    if (d.order() == v1::ORDER_UNSPECIFIED) d.set_order(d.has_operations() ? v1::ORDER_STRICT : v1::ORDER_INDEPENDENT);
    if (!AtMost("after", d.after_size(), 100)) return;
    std::set<std::string> seen;
    for (int i = 0; i < d.after_size(); ++i) {
      const std::string& text = d.after(i);
      const std::size_t slash = text.find('/');
      const bool named = slash == std::string::npos
                             ? IsPlainName(text)
                             : IsTargetName(text.substr(0, slash)) && IsPlainName(text.substr(slash + 1));
      if (!named) {
        Problem(Item("after", i),
                absl::StrCat("'", Shown(text), "' is not a migration; write its name or target/name"));
      } else if (!seen.insert(text).second) {
        Problem(Item("after", i), absl::StrCat("'", text, "' is named twice; keep one of them"));
      }
    }
  }

  void CheckPreflight(v1::MigrationDefinition& d) {
    if (!d.skip_if().empty()) Sql("skip_if", CheckQuery(d.skip_if()), *d.mutable_skip_if());
    if (!d.has_preflight()) return;
    v1::Preflight& preflight = *d.mutable_preflight();
    if (preflight.free_bytes() != 0 || written_("preflight.free_bytes"))
      NotServed("preflight.free_bytes", "a demand for free space is");
    if (preflight.close_gates_size() > 0) NotServed("preflight.close_gates", "closing gates is");
    if (!AtMost("preflight.checks", preflight.checks_size(), 100)) return;
    std::set<std::string> names;
    for (int i = 0; i < preflight.checks_size(); ++i) {
      v1::Check& check = *preflight.mutable_checks(i);
      const std::string path = Item("preflight.checks", i);
      if (check.name().empty() || CountCharacters(check.name()) > 100) {
        Problem(path + ".name", "is missing or longer than 100 characters; say what is checked, like `has index`");
      } else if (!names.insert(check.name()).second) {
        Problem(path + ".name", absl::StrCat("'", Shown(check.name()), "' is the name of another check too"));
      }
      if (check.sql().empty()) {
        Problem(path + ".sql", "is missing; write a query of one boolean that must be true");
      } else {
        Sql(path + ".sql", CheckQuery(check.sql()), *check.mutable_sql());
      }
    }
    if (preflight.ByteSizeLong() == 0) d.clear_preflight();  // `preflight: {}` means the same as none
  }

  void CheckStatements(const std::string& path, RepeatedPtrField<std::string>& statements) {
    if (!AtMost(path, statements.size(), 100)) return;
    for (int i = 0; i < statements.size(); ++i) Sql(Item(path, i), CheckStepStatement(statements[i]), statements[i]);
  }

  void CheckSteps(v1::MigrationDefinition& d) {
    CheckStatements("prepare", *d.mutable_prepare());
    v1::Cleanup& cleanup = *d.mutable_cleanup();
    CheckStatements("cleanup.statements", *cleanup.mutable_statements());
    if (cleanup.when() == v1::CLEANUP_WHEN_UNSPECIFIED) cleanup.set_when(v1::CLEANUP_WHEN_ON_DEMAND);
  }

  void CheckLabels(const v1::MigrationDefinition& d) {
    if (!AtMost("labels", static_cast<int>(d.labels().size()), 16)) return;
    // In the order of the keys: a map has none of its own, and messages should not change from run to run.
    for (const auto& [key, value] : std::map<std::string, std::string>(d.labels().begin(), d.labels().end())) {
      const std::string path = absl::StrCat("labels.", Shown(key));
      if (!IsLabelKey(key)) {
        Problem(path, "is not a label's key; it is a letter a-z, then a-z, 0-9, '_', '.' or '-', at most 63 of them");
      }
      if (CountCharacters(value) > 63) Problem(path, "is longer than 63 characters; shorten it");
    }
  }

  void CheckTimeouts(v1::MigrationDefinition& d) {
    *d.mutable_lock_timeout() =
        Time("lock_timeout", d.has_lock_timeout(), d.lock_timeout(), kMillisecond, kMinute, 500 * kMillisecond);
    *d.mutable_statement_timeout() = Time("statement_timeout", d.has_statement_timeout(), d.statement_timeout(),
                                          10 * kMillisecond, kHour, 5 * kSecond);
  }

  const std::function<bool(const std::string&)>& written_;
  DefinitionResult result_;
  ParameterNames declared_;
  ParameterNames used_;
};

}  // namespace

DefinitionResult CheckWrittenDefinition(const v1::MigrationDefinition& definition,
                                        const std::function<bool(const std::string& path)>& written) {
  return Checker(definition, written).Run();
}

DefinitionResult CheckDefinition(const v1::MigrationDefinition& definition) {
  return CheckWrittenDefinition(definition, [](const std::string&) { return false; });
}

}  // namespace migrationd
