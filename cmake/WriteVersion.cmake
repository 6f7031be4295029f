# Writes wyvern_version_text.h, with the commit of the source tree, where it has changed.
#   cmake -DSOURCE=... -DVERSION=0.1.0 -DOUTPUT=FILE -P WriteVersion.cmake
execute_process(
  COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude *
  OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE FAILED)
if(FAILED OR COMMIT STREQUAL "")
  set(COMMIT "no commit")
endif()
set(TEXT "#define WYVERN_VERSION_TEXT \"${VERSION} (${COMMIT})\"\n")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} OLD)
endif()
if(NOT "${OLD}" STREQUAL "${TEXT}")
  file(WRITE ${OUTPUT} "${TEXT}")
endif()
