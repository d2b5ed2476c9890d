# migrationd_embed_sql(TARGET FOLDER NAMESPACE HEADER): generates HEADER (included by that name) with, for each FOLDER/*.sql, in the
# order of their names, an entry {name without .sql, text} in `inline constexpr SqlFile kSqlFiles[]` of NAMESPACE, and a constant
# `kName` (snake_case to CamelCase) with its text. Runs at build time, again when a file changes.
function(migrationd_embed_sql target folder namespace header)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.sql)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/generated/${header})
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DNAMESPACE=${namespace} "-DFOLDER=${CMAKE_CURRENT_SOURCE_DIR}/${folder}"
            -P ${PROJECT_SOURCE_DIR}/cmake/EmbedSqlScript.cmake
    DEPENDS ${files} ${PROJECT_SOURCE_DIR}/cmake/EmbedSqlScript.cmake
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
  target_include_directories(${target} PUBLIC ${CMAKE_CURRENT_BINARY_DIR}/generated)
endfunction()
