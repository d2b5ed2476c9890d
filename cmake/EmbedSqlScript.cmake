# See EmbedSql.cmake. Raw string literals are limited to 64 KiB by some compilers; a file of ours is far below that.
file(GLOB files ${FOLDER}/*.sql)
list(SORT files)
set(constants "")
set(entries "")
foreach(file IN LISTS files)
  get_filename_component(stem ${file} NAME_WE)
  # No list handling of the text: it contains semicolons and brackets.
  file(READ ${file} text)
  string(REGEX REPLACE "^[0-9]+_" "" plain ${stem})
  string(REPLACE "_" ";" words ${plain})
  set(name "k")
  foreach(word IN LISTS words)
    string(SUBSTRING ${word} 0 1 first)
    string(SUBSTRING ${word} 1 -1 rest)
    string(TOUPPER ${first} first)
    string(APPEND name "${first}${rest}")
  endforeach()
  string(APPEND constants "inline constexpr std::string_view ${name} = R\"~sql~(${text})~sql~\";\n")
  string(APPEND entries "    {\"${stem}\", ${name}},\n")
endforeach()
file(WRITE ${OUTPUT} "// Generated from ${NAMESPACE} SQL files; do not edit.
#pragma once
#include <string_view>
namespace ${NAMESPACE} {
struct SqlFile {
  std::string_view name;
  std::string_view text;
};
${constants}inline constexpr SqlFile kSqlFiles[] = {
${entries}};
}  // namespace ${NAMESPACE}
")
