# cmake --install, and the .deb that CPack makes of it: the program, scripts/launch as wyvern-launch, the
# configurations, the documents, and what the program says of itself (manual page, completions).
include(GNUInstallDirs)
set(GENERATED ${CMAKE_BINARY_DIR}/install)
install(TARGETS wyvern RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(WYVERN_ARROW_LIBRARIES)
  install(FILES ${WYVERN_ARROW_LIBRARIES} DESTINATION ${CMAKE_INSTALL_LIBDIR}/wyvern)
  install(FILES ${WYVERN_ARROW_LICENSES} DESTINATION ${CMAKE_INSTALL_DOCDIR}/arrow)
  file(RELATIVE_PATH TO_LIBRARIES ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR}/wyvern)
  set_target_properties(wyvern PROPERTIES INSTALL_RPATH "$ORIGIN/${TO_LIBRARIES}")
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PYARROW_DIR}/pyarrow)
endif()

install(CODE "
  file(MAKE_DIRECTORY ${GENERATED})
  function(print_to NAME)
    execute_process(COMMAND $<TARGET_FILE:wyvern> \${ARGN} OUTPUT_FILE ${GENERATED}/\${NAME}
                    COMMAND_ERROR_IS_FATAL ANY)
  endfunction()
  print_to(wyvern.1 man)
  print_to(wyvern.bash completion bash)
  print_to(_wyvern completion zsh)
  print_to(wyvern.fish completion fish)
  # The launcher under the name that it has there.
  file(READ ${CMAKE_SOURCE_DIR}/scripts/launch TEXT)
  string(REPLACE scripts/launch wyvern-launch TEXT \"\${TEXT}\")
  file(WRITE ${GENERATED}/launch \"\${TEXT}\")
  file(CREATE_LINK ../${CMAKE_INSTALL_LIBEXECDIR}/wyvern/launch ${GENERATED}/wyvern-launch SYMBOLIC)
")
install(FILES ${GENERATED}/wyvern.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${GENERATED}/wyvern.bash RENAME wyvern
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${GENERATED}/_wyvern DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${GENERATED}/wyvern.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(PROGRAMS ${GENERATED}/launch scripts/rank DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/wyvern)
install(FILES ${GENERATED}/wyvern-launch DESTINATION ${CMAKE_INSTALL_BINDIR})

install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/wyvern PATTERN "*.py" EXCLUDE)
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB_RECURSE DOCUMENTS RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS README.md CHANGELOG.md docs/*.md
     docs/*.png configs/*.md data/*.md trainer/*.md scripts/*.md kernels/*.md autograd/*.md layers/*.md)
list(FILTER DOCUMENTS EXCLUDE REGEX "^(build|tests|experiments|packaging)/")
foreach(DOCUMENT IN LISTS DOCUMENTS)
  get_filename_component(FOLDER ${DOCUMENT} DIRECTORY)
  install(FILES ${DOCUMENT} DESTINATION ${CMAKE_INSTALL_DOCDIR}/${FOLDER})
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME wyvern)
set(CPACK_PACKAGE_CONTACT "The Wyvern authors <wyvern@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pretrain delta-rule language models")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "Wyvern trains language models whose token mixers are delta rules (DeltaNet, Gated\nDeltaNet, Kimi Delta Attention), sliding-window and global attention, in any mix,\non one process or many, from one YAML file a run.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS openmpi-bin)  # mpirun, for wyvern-launch -n
include(CPack)
