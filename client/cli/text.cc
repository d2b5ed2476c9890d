#include "client/cli/text.h"

#include <cstdint>
#include <iterator>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace migrationctl {
namespace {

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 1;  // bytes
  bool valid = false;
};

// The code point at the start of `text`, which is not empty. Overlong forms, surrogates and values above U+10FFFF are
// not valid.
CodePoint Decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return {};
  char32_t value = first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3f);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, length, true};
}

struct Range {
  char32_t first;
  char32_t last;
};

template <std::size_t kCount>
bool IsIn(const Range (&ranges)[kCount], char32_t value) {
  for (const Range& range : ranges) {
    if (value >= range.first && value <= range.last) return true;
  }
  return false;
}

// C0, DEL and C1; line and paragraph separators; what changes the direction of text.
constexpr Range kControl[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},  {0x200e, 0x200f},
                              {0x2028, 0x202e}, {0x2066, 0x2069}, {0xfeff, 0xfeff}};
// The blocks that matter; not all of Unicode.
constexpr Range kNoWidth[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},    {0x610, 0x61a},   {0x64b, 0x65f},
                              {0x900, 0x902},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},  {0x200b, 0x200d}, {0x20d0, 0x20ff},
                              {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef}};
constexpr Range kWide[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
                           {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
                           {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};

std::size_t Width(const CodePoint& code_point) {
  if (!code_point.valid) return 1;
  if (IsIn(kNoWidth, code_point.value)) return 0;
  return IsIn(kWide, code_point.value) ? 2 : 1;
}

std::string Escape(const CodePoint& code_point, char byte) {
  if (!code_point.valid) return absl::StrFormat("\\x%02x", static_cast<std::uint8_t>(byte));
  switch (code_point.value) {
    case '\n':
      return "\\n";
    case '\t':
      return "\\t";
    case '\r':
      return "\\r";
    default:
      break;
  }
  const auto value = static_cast<std::uint32_t>(code_point.value);
  return value < 0x80 ? absl::StrFormat("\\x%02x", value) : absl::StrFormat("\\u%04x", value);
}

std::string EscapeControl(const std::string& text, bool keep_line_ends) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code_point = Decode(std::string_view(text).substr(at));
    const bool keep = code_point.valid && (!IsIn(kControl, code_point.value) || (keep_line_ends && text[at] == '\n'));
    if (keep) {
      result.append(text, at, code_point.length);
    } else {
      result += Escape(code_point, text[at]);
    }
    at += code_point.length;
  }
  return result;
}

}  // namespace

std::string Printable(const std::string& text) { return EscapeControl(text, false); }

std::string PrintableLines(const std::string& text) { return EscapeControl(text, true); }

std::size_t DisplayWidth(const std::string& text) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code_point = Decode(std::string_view(text).substr(at));
    width += Width(code_point);
    at += code_point.length;
  }
  return width;
}

std::string CutToWidth(const std::string& text, std::size_t columns) {
  if (columns == 0) return "";
  std::size_t width = 0;
  std::size_t cut = 0;  // the end of what fits together with the mark
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code_point = Decode(std::string_view(text).substr(at));
    width += Width(code_point);
    if (width > columns) return text.substr(0, cut) + "~";
    at += code_point.length;
    if (width < columns) cut = at;
  }
  return text;
}

std::string PadToWidth(const std::string& text, std::size_t columns) {
  const std::size_t width = DisplayWidth(text);
  return width >= columns ? text : absl::StrCat(text, std::string(columns - width, ' '));
}

}  // namespace migrationctl
