# Four Debian packages, made by scripts/package: migrationd (the program and its service), migrationctl, libmigrationcontrol-dev (for
# clients), libmigrationd-dev (for native classes).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME migrationd)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
# Each has its own; this would stand before it.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_PACKAGE_CONTACT "migrationd maintainers <maintainers@migrationd.invalid>" CACHE STRING "Maintainer of the packages")
# Where they are installed is not where this build would be.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_COMPONENTS_ALL server service cli client library)
set(CPACK_COMPONENT_SERVER_GROUP daemon)
set(CPACK_COMPONENT_SERVICE_GROUP daemon)
set(CPACK_COMPONENT_CLI_GROUP cli)
set(CPACK_COMPONENT_CLIENT_GROUP dev)
set(CPACK_COMPONENT_LIBRARY_GROUP library)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_DEB_COMPONENT_INSTALL ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

set(CPACK_DEBIAN_DAEMON_PACKAGE_NAME migrationd)
set(CPACK_DEBIAN_DAEMON_PACKAGE_SECTION database)
set(CPACK_DEBIAN_DAEMON_DESCRIPTION "service that runs long data migrations in live PostgreSQL databases
Backfills and column copies in small transactions, at a pace that the database
can bear, each row exactly once, under the control of operators.
The service is installed disabled; /etc/migrationd/migrationd.yaml configures it.")
# systemd-sysusers makes the user it runs as.
set(CPACK_DEBIAN_DAEMON_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers")
set(CPACK_DEBIAN_DAEMON_PACKAGE_RECOMMENDS migrationctl)
set(service ${PROJECT_SOURCE_DIR}/server/service)
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA ${service}/conffiles ${service}/postinst ${service}/prerm ${service}/postrm)

set(CPACK_DEBIAN_CLI_PACKAGE_NAME migrationctl)
set(CPACK_DEBIAN_CLI_PACKAGE_SECTION database)
set(CPACK_DEBIAN_CLI_DESCRIPTION "command line of migrationd
Lists, watches, pauses, resumes, retries and resizes data migrations, and checks
their definitions.")

# The generated headers belong to the Protobuf they were generated with. libgrpc-dev's CMake files look for the plugins of
# protobuf-compiler-grpc, which it does not depend on.
string(REGEX MATCH "^([0-9]+)\\.([0-9]+)" protobuf_series ${Protobuf_VERSION})
math(EXPR protobuf_next "${CMAKE_MATCH_2} + 1")
set(protobuf_next ${CMAKE_MATCH_1}.${protobuf_next})
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libmigrationcontrol-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
  "libgrpc++-dev, libprotobuf-dev (>= ${protobuf_series}), libprotobuf-dev (<< ${protobuf_next}~), libabsl-dev, protobuf-compiler-grpc")
set(CPACK_DEBIAN_DEV_DESCRIPTION "client library of migrationd
Asks for data migrations and for their completion. Static library, headers,
CMake and pkg-config files, and the proto files for other languages.")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libmigrationd-dev)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_DEPENDS
  "libgrpc++-dev, libprotobuf-dev (>= ${protobuf_series}), libprotobuf-dev (<< ${protobuf_next}~), libabsl-dev, protobuf-compiler-grpc, \
pkg-config, libpqxx-dev, libpq-dev, libssl-dev, libspdlog-dev, libfmt-dev, libyaml-cpp-dev, prometheus-cpp-dev, libcivetweb-dev")
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "migrationd as a library
For a migrationd with migrations in C++ of one's own: static library, the headers
of its interface, and CMake files.")

include(CPack)
