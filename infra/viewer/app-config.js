// OHIF's configuration. Everything lies beside this file's own address, whatever prefix that has.
const base = new URL(".", document.currentScript.src);
const archive = new URL("../dicom-web", base).href;

// What OHIF's own page defines in it: here it is no inline script, which the site forbids.
window.PUBLIC_URL = base.pathname;
window.browserImportFunction = (name) => import(name);

window.config = {
  routerBasename: base.pathname,
  extensions: [],
  modes: [],
  // No tour through the viewer's buttons before the first image.
  customizationService: [{ "ohif.tours": { $set: [] } }],
  // Once a month until the reader has read it.
  investigationalUseDialog: { option: "configure", days: 30 },
  // Studies are chosen on the site's own page, which knows who sees which.
  showStudyList: false,
  // A result is opened with its overlay shown; nothing is asked first.
  disableConfirmationPrompts: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  showErrorDetails: "production",
  maxNumberOfWebWorkers: 3,
  // Together fewer than a visitor may have open at once (web/dicomweb/slots.py).
  maxNumRequests: { interaction: 8, thumbnail: 3, prefetch: 5 },
  defaultDataSourceName: "archive",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "archive",
      configuration: {
        friendlyName: "Archive",
        name: "archive",
        qidoRoot: archive,
        wadoRoot: archive,
        qidoSupportsIncludeField: true,
        supportsFuzzyMatching: false,
        supportsWildcard: false,
        supportsReject: false,
        supportsStow: false,
        dicomUploadEnabled: false,
        enableStudyLazyLoad: true,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true, relativeResolution: "studies" },
      },
    },
  ],
  // The session may have ended: the site's page leads to the log-in and back.
  httpErrorHandler: (error) => {
    if (error.status === 401) {
      window.location.reload();
    }
  },
};
